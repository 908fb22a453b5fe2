"""Proxy makers by name."""
