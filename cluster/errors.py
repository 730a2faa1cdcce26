"""The error of ``fmnist-cluster`` that users read."""


class ClusterError(Exception):
    """A command about a cluster cannot do its work; the message has one line per reason."""

    exit_status = 2
