"""Cards of the image-to-video models, one module per kind; none imports torch."""
