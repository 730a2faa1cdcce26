"""``RayTuner``, which replaces the tuners of keras-tuner in a script, and its parts."""
