"""Changes one thing at a time in the modules that decide, and shows which changes no test notices.

``python tests/mutants.py``, or ``make mutants``: draws changes with a fixed seed, and runs the tests
of the changed module, in a copy of this checkout, against each. A change that no test notices
survives: it needs a test, or stands in mutants.toml with the reason why it changes nothing.
"""

import argparse
import ast
import copy
import itertools
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[1]
REASONS = Path(__file__).with_suffix(".toml")
# What a search finds, what stops a trial, and what is left after a kill, is decided here.
DECIDING = (
    "search/space/parameters.py",
    "search/space/mirror.py",
    "search/engines/ray/schedulers.py",
    "search/engines/ray/placement/capacity.py",
    "search/storage/lock.py",
    "search/worker/checkpoint.py",
    "search/final/confirm.py",
    "results/record/journal.py",
    "results/record/history.py",
    "results/record/intervals.py",
)
LIMIT_SECONDS = 30.0
OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Attributes:
        module: Path of the module, from the root.
        line: Number of the changed line.
        source_line: That line, without its indentation.
        before: Source of the changed part, on one line.
        after: The same, changed.
        source: Source of the whole changed module.
    """

    module: str
    line: int
    source_line: str
    before: str
    after: str
    source: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.before}  ->  {self.after}"


def sites(module: str) -> list[tuple[str, int, Callable[[ast.AST], str]]]:
    """Return each change of a module: of a comparison, an operator, a number, a statement, ...

    Returns:
        The module, the place of a node among all its nodes, and the change of that node.
    """
    tree = ast.parse((ROOT / module).read_text())
    places = {id(node): place for place, node in enumerate(ast.walk(tree))}
    return [(module, places[id(node)], change) for node, change in changes(tree)]


def mutant(module: str, place: int, change: Callable[[ast.AST], str]) -> Mutant:
    """Return a module with one change."""
    text = (ROOT / module).read_text()
    tree = ast.parse(text)
    node = next(itertools.islice(ast.walk(tree), place, None))
    line, before = node.lineno, one_line(node)
    after = change(node)
    source = ast.unparse(ast.fix_missing_locations(tree))
    return Mutant(module, line, text.splitlines()[line - 1].strip(), before, after, source)


def changes(tree: ast.Module) -> Iterator[tuple[ast.AST, Callable[[ast.AST], str]]]:
    """Yield a node and a function that changes a copy of it in place and returns its new source."""
    for node in deciding_nodes(tree):
        for part in ("op", "ops"):
            yield from ((node, change) for change in operator_changes(node, part))
        if isinstance(node, ast.Constant):
            yield from ((node, set_to("value", value)) for value in other_constants(node.value))
        if isinstance(node, ast.Name) and node.id in NAMES and isinstance(node.ctx, ast.Load):
            yield node, set_to("id", NAMES[node.id])
        if isinstance(node, (ast.If, ast.While, ast.IfExp)):
            yield node.test, negate
        if isinstance(node, ast.comprehension):
            yield from ((test, negate) for test in node.ifs)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
            yield node, replace_by_operand
        if isinstance(node, ast.Return) and node.value is not None and not is_none(node.value):
            yield node, set_to("value", ast.Constant(None))
        if isinstance(node, (ast.Raise, ast.AugAssign, ast.Break, ast.Continue, ast.Delete)):
            yield node, drop
        if isinstance(node, ast.Expr) and isinstance(node.value, (ast.Call, ast.YieldFrom)):
            yield node, drop
        if isinstance(node, ast.Assign) and not isinstance(node.targets[0], (ast.Name, ast.Tuple)):
            yield node, drop
        if isinstance(node, ast.Call):
            for place in range(len(node.keywords)):
                yield node, drop_keyword(place)


def deciding_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that do something when the module runs: no types, no docstrings."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params", "bases"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            if isinstance(child, (ast.Import, ast.ImportFrom, ast.JoinedStr)):
                continue
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue
            if isinstance(child, ast.If) and one_line(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Call) and one_line(child.func) in ("cast", "TypeVar"):
                continue
            yield child
            yield from deciding_nodes(child)


def operator_changes(node: ast.AST, part: str):
    operators = getattr(node, part, None)
    if isinstance(operators, list):
        for place, operator in enumerate(operators):
            if type(operator) in OPERATORS:
                yield set_operator(part, OPERATORS[type(operator)], place)
    elif type(operators) in OPERATORS:
        yield set_operator(part, OPERATORS[type(operators)], None)


def other_constants(value: object) -> Iterator[object]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, (int, float)):
        yield value + 1
    elif isinstance(value, str) and re.fullmatch(r"[\w/.-]+", value):
        yield f"XX{value}"  # a key or a name; a text for people is left alone


def set_operator(part: str, kind: type[ast.AST], place: int | None):
    def change(node: ast.AST) -> str:
        if place is None:
            setattr(node, part, kind())
        else:
            getattr(node, part)[place] = kind()
        return one_line(node)

    return change


def set_to(field: str, value: object):
    def change(node: ast.AST) -> str:
        setattr(node, field, value)
        return one_line(node)

    return change


def negate(node: ast.AST) -> str:
    return become(node, ast.UnaryOp(ast.Not(), copy.copy(node)))


def replace_by_operand(node: ast.AST) -> str:
    return become(node, node.operand)


def drop(node: ast.AST) -> str:
    return become(node, ast.Pass())


def drop_keyword(place: int):
    def change(node: ast.AST) -> str:
        del node.keywords[place]
        return one_line(node)

    return change


def become(node: ast.AST, other: ast.AST) -> str:
    """Turn a node into another in place."""
    where = (node.lineno, node.col_offset)
    node.__class__ = other.__class__
    node.__dict__ = {**other.__dict__, "lineno": where[0], "col_offset": where[1]}
    return one_line(node)


def is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def one_line(node: ast.AST) -> str:
    return " ".join(ast.unparse(ast.fix_missing_locations(node)).split())


def tests_of(module: str) -> list[str]:
    """Return the test files of a module: those of its name, in the folder of its name."""
    path = Path(module)
    files = sorted((ROOT / "tests" / path.parent).glob(f"test_{path.stem}*.py"))
    return [str(file.relative_to(ROOT)) for file in files]


class Copies:
    """Copies of the checkout, each for one mutant at a time."""

    def __init__(self, folder: Path, count: int) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        output = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        files = [file for file in output.splitlines() if (ROOT / file).is_file()]
        for number in range(count):
            place = folder / str(number)
            place.mkdir()
            for file in files:
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / file, place / file)
            self._free.put(place)

    def run(self, module: str, source: str, tests: list[str]) -> tuple[str, float]:
        """Run tests against a changed module.

        Returns:
            ``survived``, ``noticed`` or ``too slow``, and the seconds that it took.
        """
        place = self._free.get()
        original = (place / module).read_text()
        try:
            (place / module).write_text(source)
            began = time.monotonic()
            return run_tests(place, tests), time.monotonic() - began
        finally:
            (place / module).write_text(original)
            self._free.put(place)


def run_tests(place: Path, tests: list[str]) -> str:
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    options = ["-n", "0", "-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, "-m", "not long", *tests],
        cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        process.communicate(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        return "too slow"
    return "survived" if process.returncode == 0 else "noticed"


def main() -> None:
    """Draw mutants, run them, print what survives."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="how many changes are drawn")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--at-once", type=int, default=2, help="how many are tried at a time")
    parser.add_argument("--list", action="store_true", help="print the changes, run nothing")
    parser.add_argument(
        "modules", nargs="*", default=DECIDING, help=f"paths; default: {', '.join(DECIDING)}"
    )
    options = parser.parse_args()
    for module in options.modules:
        if not (ROOT / module).is_file() or not tests_of(module):
            parser.error(
                f"{module!r}: expected a module with test files of its name, such as {DECIDING[0]}."
            )
    known = [site for module in options.modules for site in sites(module)]
    chosen = random.Random(options.seed).sample(known, min(options.count, len(known)))
    drawn = [mutant(*site) for site in chosen]
    drawn.sort(key=lambda mutant: (options.modules.index(mutant.module), mutant.line))
    if options.list:
        print(*drawn, sep="\n")
        return
    changes_nothing = {
        (row["module"], row["line"], row["change"])
        for row in tomllib.loads(REASONS.read_text())["change"]
    }
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = Copies(Path(folder), options.at_once)
        for module in options.modules:
            verdict, seconds = copies.run(module, (ROOT / module).read_text(), tests_of(module))
            print(f"{module}: unchanged, {seconds:.1f} s: {' '.join(tests_of(module))}", flush=True)
            if verdict == "too slow":
                sys.exit(f"error: the tests of {module} take more than {LIMIT_SECONDS:.0f} s.")
            if verdict == "noticed":
                sys.exit(f"error: the tests of {module} fail without a change: run them first.")

        def attempt(mutant: Mutant) -> str:
            verdict, seconds = copies.run(mutant.module, mutant.source, tests_of(mutant.module))
            change = (mutant.module, mutant.source_line, f"{mutant.before} -> {mutant.after}")
            if verdict == "survived" and change in changes_nothing:
                verdict = "changes nothing"
            print(f"{verdict:15} {seconds:5.1f} s  {mutant}", flush=True)
            return verdict

        with ThreadPoolExecutor(options.at_once) as pool:
            verdicts = list(pool.map(attempt, drawn))
    print_score(drawn, verdicts)


def print_score(drawn: list[Mutant], verdicts: list[str]) -> None:
    counts: dict[str, Counter[str]] = {}
    for mutant, verdict in zip(drawn, verdicts, strict=True):
        counts.setdefault(mutant.module, Counter())[verdict] += 1
        counts.setdefault("all", Counter())[verdict] += 1
    print(
        f"\n{'module':45} {'drawn':>6} {'noticed':>8} {'survived':>9} {'change nothing':>15}  noticed"
    )
    for module, count in sorted(counts.items(), key=lambda row: row[0] == "all"):
        noticed = count["noticed"] + count["too slow"]
        share = noticed / count.total()
        print(
            f"{module:45} {count.total():6} {noticed:8} {count['survived']:9} "
            f"{count['changes nothing']:15}  {share:.0%}"
        )
    survivors = [m for m, verdict in zip(drawn, verdicts, strict=True) if verdict == "survived"]
    if survivors:
        print(
            f"\n{len(survivors)} survive without a reason in {REASONS.name}:", *survivors, sep="\n"
        )
    else:
        print(f"\nall are noticed, or have their reason in {REASONS.name}")


if __name__ == "__main__":
    main()
