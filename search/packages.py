"""The packages of this project, and the modules of a user that hide them by their names.

Imports only the standard library, since it is imported before anything of ours.
"""

import importlib.util
import os
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

# Each package, and a part by which it differs from a module of a user.
PARTS = {"search": "plan", "results": "record", "fmnist_model": "mlp", "cluster": "jobs"}
# Those that workers cannot do without.
NEEDED = ("search", "results")
COMMANDS = ("fmnist-search", "fmnist-results", "fmnist-cluster")


class HiddenPackageError(ImportError):
    """A module of the user has the name of a package of ours, and Python finds it first."""


def check_import(package: str) -> None:
    """Check that Python imports a package of ours under its name.

    Raises:
        HiddenPackageError: It imports a module of the user.
        SystemExit: The same, in one of our commands, which prints the message as one line.
    """
    message = _hidden_import(package)
    if message is None:
        return
    if Path(sys.argv[0]).name in COMMANDS:
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2)
    raise HiddenPackageError(message)


def hidden_in_workers() -> Iterator[str]:
    """Yield a message for each package of ours that workers need and would not find."""
    yield from filter(None, map(hidden_on_path, NEEDED))


def hidden_on_path(package: str) -> str | None:
    """Return the message about a module that hides a package of ours in new processes, or None.

    They look in the current folder first. A folder without ``__init__.py`` hides nothing.
    """
    try:
        path = [os.getcwd(), *sys.path]
    except OSError:  # the current folder was removed
        path = sys.path
    spec = PathFinder.find_spec(package, path)
    if spec is None or spec.origin is None or _is_ours(package, spec):
        return None
    return _message(package, spec.origin)


def _hidden_import(package: str) -> str | None:
    imported = sys.modules.get(package)
    spec = imported.__spec__ if imported else importlib.util.find_spec(package)
    if spec is None:  # not installed, or a module that was made by hand
        return _message(package, str(imported)) if imported else None
    if _is_ours(package, spec):
        return None
    locations = [spec.origin, *(spec.submodule_search_locations or ())]
    return _message(package, next(filter(None, locations), package))


def _is_ours(package: str, spec: ModuleSpec) -> bool:
    locations = spec.submodule_search_locations
    if locations is None:
        return False
    part = PathFinder.find_spec(f"{package}.{PARTS[package]}", list(locations))
    return part is not None and part.origin is not None


def _message(package: str, location: str) -> str:
    return (
        f"{location} hides the package {package!r} of fmnist-search: expected no other module of "
        "this name. Rename it."
    )
