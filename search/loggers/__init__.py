"""Loggers, which show a running search in other programs."""
