"""Catalog builders: any source to the one schema."""
