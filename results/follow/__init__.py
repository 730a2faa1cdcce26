"""Follow a run: print its events as they happen."""
