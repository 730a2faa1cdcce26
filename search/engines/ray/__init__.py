"""The Ray engine: runs many trials at once in warm worker processes, and stops weak ones early."""
