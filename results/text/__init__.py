"""A run on the screen: its trials, its timing, its confirmation and its audit."""
