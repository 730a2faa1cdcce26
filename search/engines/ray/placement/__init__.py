"""Which trial is trained on which device, and how many fit at once."""
