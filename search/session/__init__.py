"""A search under way: opened, resumed, stopped, and recorded in ``run.json``."""
