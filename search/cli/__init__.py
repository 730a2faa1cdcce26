"""``fmnist-search``: the commands, thin over functions."""

from search.cli.app import main

__all__ = ["main"]
