"""Runs beside each other: the rows, their formats, and groups over seeds."""
