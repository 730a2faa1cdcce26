"""Exports runs in the formats of other programs, and imports their searches as runs."""
