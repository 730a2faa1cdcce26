"""A run in the formats of other programs, and searches of other programs as runs."""
