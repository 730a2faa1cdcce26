"""Shows a running search to the user."""
