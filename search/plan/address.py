"""The address of the Ray to use, as a user gives it."""

from search.errors import UsageError

# The words of ``ray.init``: a Ray of this machine's own, and the one that runs on this machine.
LOCAL, AUTO = "local", "auto"


def cluster_address(text: str | None, name: str) -> str | None:
    """Return the address of the Ray cluster to join; None for a Ray of this machine alone.

    Args:
        text: ``HOST:PORT``, ``auto``, or ``local``, None or nothing for this machine alone.
        name: The option or argument that gave it, for the message.

    Raises:
        UsageError: It is no such address.
    """
    address = (text or "").strip()
    if address.lower() in ("", LOCAL):
        return None
    if address.lower() == AUTO:
        return AUTO
    scheme, separator, _ = address.partition("://")
    if separator and scheme == "ray":
        raise UsageError(
            f"{name} {text!r}: a search does not run through Ray Client. Give the HOST:PORT that "
            "`ray start --head` prints (6379 unless you chose another port), on a machine of the "
            "cluster; from elsewhere: fmnist-cluster submit."
        )
    if separator and scheme in ("http", "https"):
        raise UsageError(
            f"{name} {text!r} is a job server: expected HOST:PORT of a Ray cluster. To run the "
            f"search there: fmnist-cluster submit --address {address} -- run."
        )
    host, _, port = address.rpartition(":")
    if separator or not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UsageError(
            f"{name} {text!r}: expected HOST:PORT of a Ray cluster, {AUTO} for the one that runs "
            f"on this machine, or {LOCAL} for one of this machine alone."
        )
    return address
