"""Measures of a video that need no weights."""
