"""The configurations of ``confirm --also``: read from files, named, checked against the space."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from results.record.files import read_json
from results.record.values import Values
from search.errors import SearchError, nearest
from search.space.parameters import ORACLE_VALUES, Space


def read_configurations(files: Iterable[Path], problems: list[str]) -> dict[Path, Values]:
    """Read the configurations in some files, each file once.

    Args:
        files: As they were typed.
        problems: Gets a line for each file that holds no configuration.
    """
    configurations: dict[Path, Values] = {}
    for file in {os.path.abspath(file): file for file in files}.values():
        try:
            content = read_json(file)
            values = content.get("values", content)
            if not all(isinstance(value, (bool, int, float, str)) for value in values.values()):
                raise TypeError
            configurations[file] = values
        except (SearchError, AttributeError, TypeError):
            problems.append(
                f"--also {str(file)!r}: expected a JSON file of names and values, such as the "
                "best.json of a run."
            )
    return configurations


def names_of(files: Iterable[Path]) -> dict[Path, str]:
    """Name files by the shortest endings of their paths that no other has, such as ``a/best``."""
    paths = {file: Path(os.path.abspath(file)).with_suffix("").parts for file in files}
    names: dict[Path, str] = {}
    for file, parts in paths.items():
        others = [other for name, other in paths.items() if name != file]
        endings = (parts[-length:] for length in range(1, len(parts) + 1))
        alone = (end for end in endings if all(other[-len(end) :] != end for other in others))
        end = next(alone, None)
        names[file] = str(file) if end is None else "/".join(end)  # another suffix alone differs
    return names


def unknown_names(file: Path, values: Values, space: Space) -> Iterator[str]:
    """Say which names of a configuration a space does not know, a line each."""
    known = list(dict.fromkeys(parameter.name for parameter in space))
    for name in values:
        if known and name not in known and not name.startswith(ORACLE_VALUES):
            yield (
                f"--also {str(file)!r}: {name!r} is no hyperparameter of this run: expected some "
                f"of {', '.join(known)}.{nearest(name, known)}"
            )


def left_to_defaults(values: Values, space: Space) -> list[str]:
    """List the active hyperparameters that a configuration leaves at their defaults.

    Returns:
        Each as ``name=default``; without those that have one value alone.
    """
    whole: Values = {}
    left: list[str] = []
    for parameter in space:
        if not parameter.is_active(whole) or parameter.name in whole:
            continue
        whole[parameter.name] = values.get(parameter.name, parameter.default)
        if parameter.name not in values and parameter.size != 1:
            left.append(f"{parameter.name}={parameter.default}")
    return left
