"""A Ray cluster on the user's own machines, reached by ssh."""
