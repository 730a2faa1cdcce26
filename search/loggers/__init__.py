"""A search as other programs show it while it runs."""
