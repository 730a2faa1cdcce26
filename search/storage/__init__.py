"""The run folder: its paths, its lock, and the recorder that writes its events."""
