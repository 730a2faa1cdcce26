"""What runs the trials. The engines do not import each other."""
