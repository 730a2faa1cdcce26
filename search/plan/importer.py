"""Load objects that a user names as ``module:attribute``, and list their source files."""

import contextlib
import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from search.errors import ProblemError, nearest, one_line
from search.packages import PARTS, hidden_in_workers, hidden_on_path
from search.plan.module_source import UnknownModuleError, find_module, read_source

# The packages of this project that a worker imports.
OUR_PACKAGES = ("search", "results", "fmnist_model")
# Part of the path of code that Ray 2.60 unpacked on a node.
UNPACKED_BY_RAY = "runtime_resources"


def reference_problems(*, is_here: bool = True, **references: str | None) -> Iterator[str]:
    """Yield what is wrong with references, one per line, without importing their modules.

    Args:
        is_here: Whether this machine must have the modules; those of a cluster may have them alone.
        references: By the option that names it, without dashes, each reference; None: none.
    """
    if is_here:
        yield from hidden_in_workers()
    for option, reference in references.items():
        problem = reference and reference_problem(reference, option, is_here=is_here)
        if problem:
            yield problem


def reference_problem(reference: str, option: str, *, is_here: bool = True) -> str | None:
    """Return what is wrong with a reference, as far as it shows without importing the module.

    Args:
        reference: Such as ``fmnist_model.mlp:published``.
        option: The option that the user gave, without dashes, for the message.
        is_here: Whether this machine must have the module; those of a cluster may have it alone.
    """
    module_name, _, path = reference.partition(":")
    named = f"--{option} {reference!r}"
    if is_here:
        add_current_folder_to_path()
    if not module_name or not path:
        hint = _reference_hint(reference) if is_here else ""
        return f"{named}: expected MODULE:NAME, such as fmnist_model.mlp:published.{hint}"
    if not is_here:
        return None
    try:
        spec = find_module(module_name)
        if spec is not None or module_name in sys.modules:
            problem = _name_problem(module_name, path.partition(".")[0], spec)
            return problem and f"{named}: {problem}"
    except UnknownModuleError:
        return None
    return f"{named}: {_missing_module(module_name)}{_reference_hint(reference)}"


def _missing_module(name: str) -> str:
    """Return the message for a module that is not there: it names the part that is missing."""
    parts = name.split(".")
    packages = (".".join(parts[:length]) for length in range(1, len(parts)))
    is_name = all(part.isidentifier() for part in parts)
    missing = next((package for package in packages if is_name and not _exists(package)), name)
    hidden = hidden_on_path(parts[0]) if parts[0] in PARTS else None
    if hidden is not None:
        return hidden
    return (
        f"there is no module {missing!r}. Run from the folder that holds the module, or install it."
    )


def _exists(module_name: str) -> bool:
    return module_name in sys.modules or find_module(module_name) is not None


def _name_problem(module_name: str, name: str, spec: ModuleSpec | None) -> str | None:
    """Return why a module cannot be loaded or lacks a name, as far as its source shows."""
    imported = sys.modules.get(module_name)
    if imported is not None:
        return None if hasattr(imported, name) else _no_name(module_name, name, dir(imported))
    assert spec is not None
    try:
        source = read_source(spec)
    except SyntaxError as error:
        return f"importing {module_name!r} raised {one_line(error)}"
    if source is None:
        return None
    for package in source.imports:
        if not _exists(package):
            return _not_importable(module_name, f"No module named {package!r}")
    if name in source.literals:
        return f"{name!r} is of type {source.literals[name]}: expected a function or a class."
    is_known = source.names is None or name in source.names or name.startswith("__")
    if is_known or _exists(f"{module_name}.{name}"):  # the module may import its own module
        return None
    return _no_name(module_name, name, source.names or ())


def _no_name(module_name: str, name: str, names: Iterable[str]) -> str:
    hint = nearest(name, (public for public in names if not public.startswith("_")))
    return f"{module_name!r} has no {name!r}.{hint}"


def _not_importable(module_name: str, reason: object) -> str:
    return (
        f"cannot import {module_name!r} ({reason}). Run from the folder that holds the module, or "
        "install it."
    )


def _reference_hint(reference: str) -> str:
    """Return a hint at the reference that was meant: with a dot for the colon, or of a file."""
    module_name, colon, path = reference.partition(":")
    if not colon:
        module_name, _, path = reference.rpartition(".")
    file = Path(module_name)
    if file.suffix == ".py" or len(file.parts) > 1:
        module_name = ".".join(file.with_suffix("").parts)
    with contextlib.suppress(UnknownModuleError):
        if module_name and path and path != "py" and find_module(module_name) is not None:
            is_other = f"{module_name}:{path}" != reference
            return f" Did you mean {f'{module_name}:{path}'!r}?" if is_other else ""
    return ""


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
            f"--{option} {reference!r}: {_not_importable(module_name, error)}"
        ) from error
    except Exception as error:
        raise ProblemError(
            f"--{option} {reference!r}: importing {module_name!r} raised {one_line(error)}"
        ) from error
    for name in path.split("."):
        if not hasattr(value, name):
            raise ProblemError(
                f"--{option} {reference!r}: {_no_name(module_name, name, vars(value))}"
            )
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
    # A module of the user may have the name of a package that the search itself does not need.
    ours = [name for name in OUR_PACKAGES if name not in modules or hidden_on_path(name) is None]
    paths = (_user_source(name) for name in sorted(modules - {*ours, "__main__"}))
    return [str(path) for path in (*(root / name for name in ours), *paths) if path]


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
