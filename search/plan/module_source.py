"""Find a module of the user and read the names in its source, without importing it.

Importing it may take as long as TensorFlow does. Where code may make names that its source does not
show, nothing is said about them.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from typing import Any

# Calls and attributes by which a module may define names, or find modules, that its source hides.
DEFINING = {"exec", "eval", "globals", "locals", "vars", "setattr", "__dict__", "modules"}
SEARCHING = {"path", "__path__", "meta_path", "path_hooks", "modules"}
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
LITERALS = {ast.List: "list", ast.Tuple: "tuple", ast.Dict: "dict", ast.Set: "set"}


class UnknownModuleError(LookupError):
    """Whether there is a module shows only when its package is imported."""


@dataclass(frozen=True)
class ModuleSource:
    """What the source of a module shows.

    Attributes:
        names: The names at its top level; None if it may define others.
        literals: By name, the type of a value that is written there and never replaced.
        imports: The packages that it cannot do without.
    """

    names: frozenset[str] | None
    literals: dict[str, str]
    imports: tuple[str, ...]


def find_module(name: str) -> ModuleSpec | None:
    """Return the spec of a module, as the import system would find it; None if there is none.

    Raises:
        UnknownModuleError: Only an import of its package can tell.
    """
    spec: ModuleSpec | None = None
    path = None
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        package = ".".join(parts[:length])
        parent, spec = spec, _find_spec(package, path) if parts[length - 1].isidentifier() else None
        if spec is None:
            if parent is not None and _may_find_others(parent):
                raise UnknownModuleError(name)
            return None
        imported = sys.modules.get(package)
        path = getattr(imported, "__path__", spec.submodule_search_locations)
        if path is None and length < len(parts):
            return None
    return spec


def read_source(spec: ModuleSpec) -> ModuleSource | None:
    """Read the source of a module; None if it has none, as one that is compiled.

    Raises:
        SyntaxError: It is no Python.
    """
    text = _text(spec)
    if text is None:
        return None
    tree = ast.parse(text, spec.origin or spec.name)
    words = _words(tree)
    names = {*_bound(tree), *_global_names(tree)}
    is_open = bool(words & DEFINING) or "*" in names or "__getattr__" in names
    imports = () if words & SEARCHING else tuple(dict.fromkeys(_needed(tree)))
    return ModuleSource(None if is_open else frozenset(names), _literals(tree), imports)


def _find_spec(name: str, path: object) -> ModuleSpec | None:
    if name in sys.modules and getattr(sys.modules[name], "__spec__", None) is not None:
        return sys.modules[name].__spec__
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        try:
            spec: ModuleSpec | None = find_spec(name, path) if find_spec else None
        except KeyError as error:  # a folder without __init__.py in another such folder
            raise UnknownModuleError(name) from error
        except (ImportError, ValueError):
            continue
        if spec is not None:
            return spec
    return None


def _text(spec: ModuleSpec) -> str | None:
    get_source = getattr(spec.loader, "get_source", None)
    try:
        text: str | None = get_source(spec.name) if get_source else None
    except (ImportError, OSError):
        return None
    return text


def _may_find_others(package: ModuleSpec) -> bool:
    """Tell whether the code of a package may let other modules be found in it."""
    text = _text(package)
    try:
        return text is not None and bool(_words(ast.parse(text)) & SEARCHING)
    except SyntaxError:
        return False


def _words(tree: ast.AST) -> set[str]:
    """Return the names and the attributes that a module uses."""
    names = {node.id for node in _all(tree, ast.Name)}
    return names | {node.attr for node in _all(tree, ast.Attribute)}


def _all(tree: ast.AST, kind: type) -> Iterator[Any]:
    return (node for node in ast.walk(tree) if isinstance(node, kind))


def _bound(node: ast.AST) -> Iterator[str]:
    """Yield the names that a part of a module binds, without those of functions and classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, DEFINITIONS):
            yield child.name
        elif isinstance(child, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in child.names)
        elif not isinstance(child, ast.Lambda):
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
                yield child.id
            elif isinstance(child, (ast.MatchAs, ast.MatchStar)) and child.name:
                yield child.name
            yield from _bound(child)


def _literals(tree: ast.Module) -> dict[str, str]:
    """Return the type of each name that stands for a literal, and is bound only once."""
    bound = [*_bound(tree), *_global_names(tree)]
    literals: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and (kind := _type_of(node.value)):
            names = (target.id for target in node.targets if isinstance(target, ast.Name))
            literals |= {name: kind for name in names if bound.count(name) == 1}
    return literals


def _type_of(node: ast.expr) -> str | None:
    """Return the type of a literal; None if the expression is none."""
    if isinstance(node, ast.Constant):
        return type(node.value).__name__
    return LITERALS.get(type(node))


def _global_names(tree: ast.Module) -> Iterator[str]:
    return (name for node in _all(tree, ast.Global) for name in node.names)


def _needed(tree: ast.Module) -> Iterator[str]:
    """Yield the packages that a module imports in any case, at its top level."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]
