"""Find what would fail in a search before it starts; each finding is one line with a remedy.

``check`` takes no time and precedes every run. ``examine`` also loads the data, builds and trains
models at the corners of the space, and checks every node of a cluster.
"""

import contextlib
import dataclasses
import importlib.metadata
import math
import platform
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from results.record.columns import State, Values
from results.record.words import format_values
from search.algorithms.drawing import choose_values
from search.errors import SearchError, one_line, raise_any
from search.machine.machine import GIGABYTE, needed_bytes, this_machine
from search.machine.ulimits import limit_problems
from search.plan.importer import source_paths
from search.plan.plan import Engine, Plan, Problem
from search.ray.nodes import call_on_every_node
from search.ray.runtime import connect_to_ray
from search.space.parameters import Kind, Parameter, Space
from search.storage.folder import (
    MIN_FREE_BYTES,
    is_blank,
    nearest_folder,
    out_exists_message,
    why_unwritable,
)
from search.worker import splits
from search.worker.data import Data, load_data
from search.worker.process import quiet_training
from search.worker.task import Task

PACKAGE = "fmnist-search"
SHARED_MEMORY = Path("/dev/shm")
# Ray stores data in shared memory; with less than this, it uses a disk.
MIN_SHARED_BYTES = 500 * 1024**2
# The number of samples of each split that a corner trains on: more than one batch.
SAMPLES = 256
MAX_CORNERS = 16
OBJECTIVE_OPTION = "--objective"


class Grade(StrEnum):
    """The severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """The result of a check, in one line; a warning or problem says what to do."""

    grade: Grade
    text: str

    def __str__(self) -> str:
        """Return the line, with its grade."""
        return f"{self.grade:<8} {self.text}"


def check(plan: Plan, *, is_new: bool = True) -> list[Finding]:
    """Check a plan, package versions, disk and memory, before a run starts.

    Args:
        plan: The plan of the run.
        is_new: Whether the run will create its folder.

    Returns:
        The warnings.

    Raises:
        UsageError: It lists every problem, one per line.
    """
    problems = [*(plan.reference_problems() if is_new else ()), *plan.problems()]
    if is_new and plan.out.exists() and not is_blank(plan.out):
        problems.append(out_exists_message(plan.out))
    return _warnings(_check_machine(plan), problems)


def examine(plan: Plan, address: str | None = None) -> Iterator[Finding]:
    """Check everything, and yield each finding as soon as it is known.

    Args:
        plan: The plan of the search.
        address: Address of the Ray cluster whose nodes to check too; None: only this machine.
    """
    yield from _check_machine(plan)
    from search.worker import process

    process.set_up(sees_gpus=False)  # quietly, before the data function may import TensorFlow
    data = None
    try:
        data = load_data(plan.problem, needs_test=bool(plan.retrain_epochs))
        data.packed()  # raises an error if they cannot be sent to workers
    except SearchError as error:
        for line in str(error).splitlines():
            yield Finding(Grade.PROBLEM, line)
    else:
        yield from _check_data(data)
    yield from _check_corners(plan.problem, data)
    if address is not None:
        yield from _examine_nodes(plan, address, data.digest() if data else None)


def check_nodes() -> list[Finding]:
    """Check versions, disk and memory on every node of the running Ray; return the warnings.

    Raises:
        UsageError: It lists every problem, one per line.
    """
    return _warnings(_check_reports(call_on_every_node(_make_report, None), digest=None))


def _warnings(findings: Iterable[Finding], problems: Iterable[str] = ()) -> list[Finding]:
    """Return the warnings; raise a UsageError of the problems and those among the findings."""
    findings = list(findings)
    raise_any([*problems, *(each.text for each in findings if each.grade is Grade.PROBLEM)])
    return [finding for finding in findings if finding.grade is Grade.WARNING]


def _check_machine(plan: Plan) -> Iterator[Finding]:
    yield from _check_versions()
    yield from _check_disk(plan.out)
    yield from _check_cores_and_memory(plan.workers)
    if plan.address is None and plan.engine is Engine.RAY:
        yield from _check_ulimits(plan.workers)
    yield from _check_shared_memory()


def corners(space: Space) -> list[Values]:
    """Return the configurations at the corners of a space, at most ``MAX_CORNERS``.

    The first has the defaults. The others have each value of every choice, once with all numbers
    at their lower bounds and once with all at their upper bounds.
    """
    sizes = [len(parameter.choices) for parameter in space if parameter.choices]
    configurations = [space.defaults()]
    for choice_index in range(max(sizes, default=1)):
        for is_high in (False, True):
            values = choose_values(space, _corner_position(choice_index, is_high))
            if values not in configurations:
                configurations.append(values)
    return configurations[:MAX_CORNERS]


def _corner_position(choice_index: int, is_high: bool) -> Callable[[Parameter], float]:
    """Return a function that gives the position of a parameter's value at a corner."""

    def position(parameter: Parameter) -> float:
        size = parameter.size
        if parameter.kind in (Kind.CHOICE, Kind.BOOLEAN, Kind.FIXED):
            return choice_index % len(parameter.choices)
        last = math.nextafter(1.0, 0.0) if size is None else size - 1
        return last if is_high else 0

    return position


def _check_versions() -> Iterator[Finding]:
    try:
        requirements = _requirements()
    except importlib.metadata.PackageNotFoundError:
        yield Finding(Grade.PROBLEM, f"{PACKAGE} is not installed: run `make setup`, or use pip.")
        return
    is_ok, versions = True, _installed_versions()
    for requirement in requirements:
        version = versions.get(requirement.name, "missing")
        if version == "missing" or not requirement.specifier.contains(version, prereleases=True):
            is_ok = False
            yield Finding(
                Grade.PROBLEM,
                f"{requirement.name} is {version}, expected {requirement.specifier}: "
                f"pip install '{requirement.name}{requirement.specifier}'.",
            )
    if is_ok:
        python_version = platform.python_version()
        yield Finding(Grade.OK, f"versions: Python {python_version}, packages as required")


def _check_disk(out: Path) -> Iterator[Finding]:
    reason = why_unwritable(out)
    if reason is not None:
        yield Finding(Grade.PROBLEM, reason)
        return
    folder = nearest_folder(out)
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        yield Finding(
            Grade.PROBLEM,
            f"--out {str(out)!r}: {free / 1024**2:.0f} MB of disk are free, expected "
            f"{MIN_FREE_BYTES / 1024**2:.0f} MB or more. Free some space, or choose another disk.",
        )
    else:
        yield Finding(Grade.OK, f"disk: {free / 1024**3:.1f} GB free in {str(folder)!r}")


def _check_cores_and_memory(workers: int) -> Iterator[Finding]:
    machine, needed = this_machine(), needed_bytes(workers)
    yield Finding(Grade.OK, f"cores: {machine.describe_cores()}")
    text = (
        f"memory: {machine.free_bytes / GIGABYTE:.1f} GB free of {machine.describe_memory()}, "
        f"{workers} {'worker needs' if workers == 1 else 'workers need'} about "
        f"{needed / GIGABYTE:.1f} GB"
    )
    if machine.free_bytes >= needed:
        yield Finding(Grade.OK, text)
    else:
        remedy = "Reduce --workers" if workers > 1 else "Free some memory"
        yield Finding(Grade.WARNING, f"{text}. {remedy}.")


def _check_ulimits(workers: int) -> Iterator[Finding]:
    lines = list(limit_problems(workers))
    yield from (Finding(Grade.PROBLEM, line) for line in lines)
    if not lines:
        yield Finding(Grade.OK, f"limits of processes: enough for {workers} trials at once")


def _check_shared_memory() -> Iterator[Finding]:
    if not SHARED_MEMORY.is_dir():
        return
    free = shutil.disk_usage(SHARED_MEMORY).free
    text = f"shared memory: {free / 1024**2:.0f} MB free in {SHARED_MEMORY}"
    if free < MIN_SHARED_BYTES:
        yield Finding(
            Grade.WARNING,
            f"{text}, so Ray stores data on disk, which is slow. In Docker, use --shm-size=2g.",
        )
    else:
        yield Finding(Grade.OK, text)


def _check_scratch_disk() -> Iterator[Finding]:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        yield Finding(
            Grade.PROBLEM,
            f"{free / 1024**2:.0f} MB of disk are free in {folder!r}, where Ray and trials write; "
            f"expected {MIN_FREE_BYTES / 1024**2:.0f} MB or more. Free some space.",
        )


def _check_data(data: Data) -> Iterator[Finding]:
    for name, split in data.named_splits.items():
        if len(split) == 2 and not all(_is_finite(array) for _, array in splits.leaves(split)):
            yield Finding(
                Grade.PROBLEM,
                f"data: the {name} split holds numbers that are not finite, so every trial "
                "would diverge. Remove or replace them.",
            )
    sizes = ", ".join(f"{name} {_size(split)}" for name, split in data.named_splits.items())
    yield Finding(Grade.OK, f"data: {sizes}; digest {data.digest()}")


def _is_finite(array: Any) -> bool:
    import numpy as np

    values = array.data if splits.is_sparse(array) else array
    is_float = isinstance(values, np.ndarray) and values.dtype.kind == "f"
    return not is_float or bool(np.isfinite(values).all())


def _size(split: splits.Split) -> str:
    length = splits.length(split)
    if len(split) == 2:
        return str(length)
    return "a dataset" if length is None else f"{length} batches"


def _check_corners(problem: Problem, data: Data | None) -> Iterator[Finding]:
    from search.worker import process

    assert problem.hypermodel is not None
    try:
        space = process.discover(problem.hypermodel)
    except SearchError as error:
        prefix = f"--hypermodel {problem.hypermodel!r}"
        text = str(error)
        named = text if text.startswith(prefix) else f"{prefix}: {text}"
        yield Finding(Grade.PROBLEM, named)
        return
    if data is None:
        return
    sample = Data(*(splits.first(split, SAMPLES) for split in (data.train, data.validation)))
    configurations = corners(space)
    is_ok = True
    for number, values in enumerate(configurations):
        for finding in _try_corner(problem, sample, number, values):
            is_ok = False
            yield finding
            if finding.text.startswith(OBJECTIVE_OPTION):
                return  # the same at every other corner
    if is_ok:
        yield Finding(
            Grade.OK,
            f"space: {len(configurations)} corners built and trained; each reports "
            f"{problem.objective.name}",
        )


def _try_corner(problem: Problem, data: Data, number: int, values: Values) -> Iterator[Finding]:
    """Train an epoch of a configuration; yield a finding if it fails."""
    from search.worker.callbacks import ObjectiveMissing
    from search.worker.trial import run_trial

    task = dataclasses.replace(Task.of(problem), epochs=1)
    with quiet_training():
        end = run_trial(
            task, data, trial=number, values=values, report=lambda _epoch: True, folder=None
        )
    configuration = format_values(values)
    if end.fatal == ObjectiveMissing.__name__:
        yield Finding(Grade.PROBLEM, f"--{end.error}")  # it starts with "objective"
        return
    if end.state in (State.FAILED, State.OUT_OF_MEMORY):
        yield Finding(
            Grade.PROBLEM,
            f"space: {end.error} at {configuration}. Correct the builder, or narrow the space.",
        )
    elif end.state is State.DIVERGED:
        yield Finding(Grade.WARNING, f"space: training diverges at {configuration} ({end.error}).")


def _examine_nodes(plan: Plan, address: str, digest: str | None) -> Iterator[Finding]:
    try:
        with connect_to_ray(
            address, plan.workers, source_paths(plan.problem.hypermodel, plan.problem.data)
        ):
            reports = call_on_every_node(_make_report, plan.problem)
    except SearchError as error:
        yield Finding(Grade.PROBLEM, str(error))
        return
    yield from _check_reports(reports, digest)


def _check_reports(reports: Iterable["_NodeReport | str"], digest: str | None) -> Iterator[Finding]:
    """Check reports of nodes; a string is the error of a node that gave no report."""
    versions = _installed_versions()
    for report in reports:
        if isinstance(report, str):
            yield Finding(Grade.PROBLEM, report)
        else:
            yield from _check_report(report, versions, digest)


@dataclass(frozen=True)
class _NodeReport:
    """The versions, findings and data of a node.

    Attributes:
        versions: Versions of Python and the required packages, by name.
        digest: Digest of the data that the node loads itself; None if it loads none.
        error: Why it cannot load the data; None if it can.
    """

    host: str
    versions: dict[str, str]
    findings: tuple[Finding, ...]
    digest: str | None
    error: str | None


def _make_report(problem: Problem | None) -> _NodeReport:
    """Report on the node that this runs on; with a problem, load its data too."""
    digest, error = None, None
    try:
        digest = load_data(problem, needs_test=False).digest() if problem else None
    except Exception as raised:
        error = str(raised) if isinstance(raised, SearchError) else one_line(raised)
    findings = (*_check_shared_memory(), *_check_scratch_disk())
    return _NodeReport(socket.gethostname(), _installed_versions(), findings, digest, error)


def _check_report(
    report: _NodeReport, versions: dict[str, str], digest: str | None
) -> Iterator[Finding]:
    """Compare the report of a node with the versions and the data of this machine."""
    host, is_ok = report.host, True
    for name, version in versions.items():
        node_version = report.versions.get(name, "missing")
        if node_version != version:
            is_ok = False
            is_patch = name == "python" and _minor(node_version) == _minor(version)
            yield Finding(
                Grade.WARNING if is_patch else Grade.PROBLEM,
                f"{host}: {name} is {node_version}, expected {version} as on this machine. Install "
                "it there.",
            )
    error = report.error
    if error is None and digest is not None and report.digest != digest:
        error = f"digest {report.digest}, expected {digest}"
    if error is not None:
        is_ok = False
        yield Finding(
            Grade.WARNING,
            f"{host}: its own copy of the data cannot be used ({error.rstrip('.')}), so a search "
            "sends it the data of this machine. Remove or repair that copy.",
        )
    for finding in report.findings:
        if finding.grade is not Grade.OK:
            is_ok = False
            yield Finding(finding.grade, f"{host}: {finding.text}")
    if is_ok:
        yield Finding(Grade.OK, f"{host}: versions, data and shared memory as on this machine")


def _minor(version: str) -> str:
    return version.rpartition(".")[0]


def _installed_versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for requirement in _requirements():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[requirement.name] = importlib.metadata.version(requirement.name)
    return versions


def _requirements() -> list[Requirement]:
    """Return the packages that this one requires, without those of its extras."""
    requirements = [Requirement(text) for text in importlib.metadata.requires(PACKAGE) or ()]
    return [
        requirement
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    ]


def is_ready(findings: Iterable[Finding]) -> bool:
    """Tell whether a search can start: whether no finding is a problem."""
    return all(finding.grade is not Grade.PROBLEM for finding in findings)
