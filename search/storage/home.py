"""The home folder of an account that has none, such as a number without a name in a container."""

import os

from search.storage import scratch


def prepare_home() -> None:
    """Set ``HOME`` to a temporary folder of this process if the account has no home.

    Without one, Ray cannot be imported, and Keras makes a folder ``~`` where it is started.

    Raises:
        NoRoomError: There is no room for temporary files.
    """
    if not os.path.isabs(os.path.expanduser("~")):
        os.environ["HOME"] = _folder("home")


def caches_of_workers() -> dict[str, str]:
    """Return variables by which libraries keep no temporary folders of their own in workers.

    Matplotlib does where the home cannot be written, and Ray ends workers before it removes them.
    """
    names = ("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    if any(name in os.environ for name in names) or os.access(os.path.expanduser("~"), os.W_OK):
        return {}
    return {"MPLCONFIGDIR": _folder("matplotlib")}


def _folder(name: str) -> str:
    path = scratch.folder() / name
    path.mkdir(exist_ok=True)
    return str(path)
