"""Figures of the machinery around the models; `make bench` prints them."""
