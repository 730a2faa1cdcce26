"""Loading what a user names as ``module:attribute``."""

import importlib
import importlib.util
import sys
import sysconfig
from pathlib import Path
from typing import Any

from search.errors import ProblemError, nearest, one_line

# What a worker imports of ours, and the problem that ships with it.
OWN_PACKAGES = ("search", "results", "fmnist_model")
# In the path of what Ray 2.60 has unpacked on a node.
BROUGHT = "runtime_resources"


def load(reference: str, what: str) -> Any:
    """Import the object that ``module:attribute`` names; the current folder is searched too.

    Args:
        reference: Such as ``fmnist_model.mlp:published``; dots after the colon are followed.
        what: What the object is, for messages: ``hypermodel`` or ``data``.
    """
    module_name, _, path = reference.partition(":")
    if not module_name or not path:
        raise ProblemError(
            f"--{what} {reference!r} is no reference: expected module:attribute, "
            "such as fmnist_model.mlp:published."
        )
    search_current_folder()
    try:
        value = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ProblemError(
            f"--{what} {reference!r}: cannot import {module_name!r} ({error}). Run from the "
            "folder that holds the module, or install it."
        ) from error
    except Exception as error:
        raise ProblemError(
            f"--{what} {reference!r}: importing {module_name!r} raised {one_line(error)}"
        ) from error
    for name in path.split("."):
        if not hasattr(value, name):
            hint = nearest(name, (public for public in vars(value) if not public.startswith("_")))
            raise ProblemError(f"--{what} {reference!r}: {module_name!r} has no {name!r}.{hint}")
        value = getattr(value, name)
    return value


def sources(*references: str | None) -> list[str]:
    """Return what other machines need of this one's code: our packages and the user's modules.

    Those are named ``module`` or ``module:attribute``. What is installed is expected to be
    installed there too.
    """
    own = [str(Path(__file__).resolve().parents[2] / name) for name in OWN_PACKAGES]
    modules = {named.partition(":")[0].partition(".")[0] for named in references if named}
    search_current_folder()
    paths = (_users_own(name) for name in sorted(modules - {*OWN_PACKAGES, "__main__"}))
    return own + [str(path) for path in paths if path is not None]


def _users_own(module: str) -> Path | None:
    """Return the file or package of a module, unless it was installed or cannot be found."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.has_location:
        return None
    file = Path(spec.origin).resolve()
    installed = (sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib"))
    if any(file.is_relative_to(Path(folder).resolve()) for folder in installed):
        return None
    return file.parent if spec.submodule_search_locations else file


def search_current_folder() -> None:
    """Have modules looked for in the current folder too."""
    here = str(Path.cwd())
    if here not in sys.path:
        # What Ray has brought to this node comes first: a folder of the same name here may hold
        # older modules.
        brought = [place for place, path in enumerate(sys.path) if BROUGHT in path]
        sys.path.insert(max(brought, default=-1) + 1, here)
