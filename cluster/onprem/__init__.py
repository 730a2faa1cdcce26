"""A Ray cluster on machines of one's own, reached by ssh."""
