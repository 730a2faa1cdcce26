"""What went wrong with a cluster, for the user."""


class ClusterError(Exception):
    """A cluster cannot be used as asked; a line for each reason."""
