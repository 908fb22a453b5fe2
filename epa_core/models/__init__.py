"""Image-to-video models by name."""
