"""``RayTuner``, the drop-in for the tuners of keras-tuner, and what it checks of its arguments."""
