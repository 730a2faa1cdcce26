"""Algorithms that choose the configurations of trials."""
