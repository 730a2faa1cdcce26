"""``fmnist-search``: the commands, thin over functions."""

from search.cli.run import main

__all__ = ["main"]
