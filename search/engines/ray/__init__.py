"""The Ray engine: many trials at once in warm worker processes, stopped early."""
