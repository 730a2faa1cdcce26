"""The run folder: its paths, its lock, and the recorder of its events."""
