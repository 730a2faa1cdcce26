"""How the data and the objects of a script travel to the worker processes."""
