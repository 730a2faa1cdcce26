"""Searches as jobs of a running Ray cluster."""
