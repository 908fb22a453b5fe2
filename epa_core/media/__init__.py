"""Pictures and videos as bytes."""
