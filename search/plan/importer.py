"""Load objects that a user names as ``module:attribute``, and list their source files."""

import importlib
import importlib.util
import sys
import sysconfig
from pathlib import Path
from typing import Any

from search.errors import ProblemError, nearest, one_line

# The packages of this project that a worker imports.
OUR_PACKAGES = ("search", "results", "fmnist_model")
# Part of the path of code that Ray 2.60 unpacked on a node.
UNPACKED_BY_RAY = "runtime_resources"


def reference_problem(reference: str, option: str, *, is_here: bool = True) -> str | None:
    """Return what is wrong with a reference, as far as it shows without importing the module.

    Args:
        reference: Such as ``fmnist_model.mlp:published``.
        option: The option that the user gave, without dashes, for the message.
        is_here: Whether this machine must have the module; those of a cluster may have it alone.
    """
    module_name, _, path = reference.partition(":")
    if not module_name or not path:
        return (
            f"--{option} {reference!r}: expected MODULE:NAME, such as fmnist_model.mlp:published."
        )
    if not is_here:
        return None
    add_current_folder_to_path()
    package = module_name.partition(".")[0]
    try:
        is_found = package in sys.modules or importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        is_found = False
    if is_found:
        return None
    return (
        f"--{option} {reference!r}: there is no module {package!r}. Run from the folder that holds "
        "the module, or install it."
    )


def load(reference: str, option: str) -> Any:
    """Import the object that ``module:attribute`` names, from the current folder too.

    Args:
        reference: Such as ``fmnist_model.mlp:published``; the attribute may contain dots.
        option: The option that the user gave, without dashes, for messages: ``hypermodel``.

    Raises:
        ProblemError: The module cannot be imported, or has no such attribute.
    """
    problem = reference_problem(reference, option)
    if problem is not None:
        raise ProblemError(problem)
    module_name, _, path = reference.partition(":")
    try:
        value = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ProblemError(
            f"--{option} {reference!r}: cannot import {module_name!r} ({error}). Run from the "
            "folder that holds the module, or install it."
        ) from error
    except Exception as error:
        raise ProblemError(
            f"--{option} {reference!r}: importing {module_name!r} raised {one_line(error)}"
        ) from error
    for name in path.split("."):
        if not hasattr(value, name):
            hint = nearest(name, (public for public in vars(value) if not public.startswith("_")))
            raise ProblemError(f"--{option} {reference!r}: {module_name!r} has no {name!r}.{hint}")
        value = getattr(value, name)
    return value


def source_paths(*references: str | None) -> list[str]:
    """Return the code that other machines need: our packages and modules of the user.

    Installed packages are left out: the other machines must have them too.

    Args:
        references: The modules, as ``module`` or ``module:attribute``.
    """
    root = Path(__file__).resolve().parents[2]
    modules = {name.partition(":")[0].partition(".")[0] for name in references if name}
    add_current_folder_to_path()
    paths = (_user_source(name) for name in sorted(modules - {*OUR_PACKAGES, "__main__"}))
    return [str(path) for path in (*(root / name for name in OUR_PACKAGES), *paths) if path]


def _user_source(module: str) -> Path | None:
    """Return the file or package folder of a module; None if it is installed or not found."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.has_location:
        return None
    file = Path(spec.origin).resolve()
    library_folders = (sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib"))
    if any(file.is_relative_to(Path(folder).resolve()) for folder in library_folders):
        return None
    return file.parent if spec.submodule_search_locations else file


def add_current_folder_to_path() -> None:
    """Let Python import modules from the current folder too."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        # Code that Ray unpacked on this node comes first: the current folder may hold older
        # modules of the same names.
        unpacked = [index for index, path in enumerate(sys.path) if UNPACKED_BY_RAY in path]
        sys.path.insert(max(unpacked, default=-1) + 1, folder)
