"""Which trial trains on which device, and how many trials fit at once."""
