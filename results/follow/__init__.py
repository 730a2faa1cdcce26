"""A run told line by line while it happens."""
