"""What would go wrong in a search, found before it starts: each finding one line, with its cure.

The quick part is done before every run; the whole also loads the data, builds the corners of the
space, trains a batch of each, and asks every node of a cluster.
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

import psutil
from packaging.requirements import Requirement

from results.record.columns import State, Values
from results.record.words import format_values
from search.algorithms.drawing import choose_values
from search.errors import SearchError, one_line, raise_any
from search.plan.importer import source_paths
from search.plan.plan import Plan, Problem
from search.plan.task import Task
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
from search.worker.data import Data, load_data
from search.worker.process import quiet_training

PACKAGE = "fmnist-search"
SHARED_MEMORY = Path("/dev/shm")
# Ray keeps the data there; below this it falls back to a disk.
MIN_SHARED_BYTES = 500 * 1024**2
# A worker process with TensorFlow, a small model and its share of the data, as measured here.
WORKER_BYTES = 900 * 1024**2
# A batch and a bit of each split.
SAMPLES = 256
MAX_CORNERS = 16
OBJECTIVE = "--objective"


class Grade(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """What was found, in one line; of what is wrong it says what to do."""

    grade: Grade
    text: str

    def __str__(self) -> str:
        """Return the line."""
        return f"{self.grade:<8} {self.text}"


def check(plan: Plan, *, is_new: bool = True) -> list[Finding]:
    """Check what takes no time, before every run: what was asked, versions, disk, memory.

    Args:
        plan: What was asked.
        is_new: Whether the run folder is still to be made.

    Returns:
        The warnings.

    Raises:
        UsageError: Names every problem, a line each.
    """
    problems = list(plan.problems())
    if is_new and plan.out.exists() and not is_blank(plan.out):
        problems.append(out_exists_message(plan.out))
    return _warnings(_quick(plan), problems)


def examine(plan: Plan, address: str | None = None) -> Iterator[Finding]:
    """Look at everything, and tell of each thing as soon as it is known.

    Every node of the Ray cluster at ``address`` is asked too; None: this machine alone.
    """
    yield from _quick(plan)
    data = None
    try:
        data = load_data(plan.problem, needs_test=bool(plan.retrain_epochs))
    except SearchError as error:
        yield Finding(Grade.PROBLEM, str(error))
    else:
        yield from _data(data)
    yield from _corners(plan.problem, data)
    if address is not None:
        yield from _nodes(plan, address, data.digest() if data else None)


def check_nodes() -> list[Finding]:
    """Ask every node of the cluster that was joined what takes no time, as ``check`` does here."""
    return _warnings(_of_nodes(call_on_every_node(_report, None), digest=None))


def _warnings(findings: Iterable[Finding], problems: Iterable[str] = ()) -> list[Finding]:
    """Return the warnings, or refuse the search for its problems and those among the findings."""
    findings = list(findings)
    wrong = [*problems, *(each.text for each in findings if each.grade is Grade.PROBLEM)]
    raise_any(wrong)
    return [finding for finding in findings if finding.grade is Grade.WARNING]


def _quick(plan: Plan) -> Iterator[Finding]:
    yield from (*_versions(), *_disk(plan.out), *_memory(plan.workers), *_shared_memory())


def corners(space: Space) -> list[Values]:
    """Return the configurations at the ends of a space.

    The defaults; then each value of every choice once with all numbers at their lowest, and once
    with all at their highest.
    """
    sizes = [len(parameter.choices) for parameter in space if parameter.choices]
    ends = [space.defaults()]
    for turn in range(max(sizes, default=1)):
        for is_high in (False, True):
            ends.append(choose_values(space, _end(turn, is_high)))
    unlike = [values for place, values in enumerate(ends) if values not in ends[:place]]
    return unlike[:MAX_CORNERS]


def _end(turn: int, is_high: bool) -> Callable[[Parameter], float]:
    def position(parameter: Parameter) -> float:
        size = parameter.size
        if parameter.kind in (Kind.CHOICE, Kind.BOOLEAN, Kind.FIXED):
            return turn % len(parameter.choices)
        last = math.nextafter(1.0, 0.0) if size is None else size - 1
        return last if is_high else 0

    return position


def _versions() -> Iterator[Finding]:
    try:
        required = _required()
    except importlib.metadata.PackageNotFoundError:
        yield Finding(Grade.PROBLEM, f"{PACKAGE} is not installed: expected `make setup`, or pip.")
        return
    wrong, versions = 0, _installed()
    for requirement in required:
        version = versions.get(requirement.name, "missing")
        if version == "missing" or not requirement.specifier.contains(version, prereleases=True):
            wrong += 1
            yield Finding(
                Grade.PROBLEM,
                f"{requirement.name} is {version}, expected {requirement.specifier}: "
                f"pip install '{requirement.name}{requirement.specifier}'.",
            )
    if not wrong:
        yield Finding(Grade.OK, f"versions: Python {platform.python_version()}, packages as needed")


def _disk(out: Path) -> Iterator[Finding]:
    reason = why_unwritable(out)
    if reason is not None:
        yield Finding(Grade.PROBLEM, reason)
        return
    folder = nearest_folder(out)
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        yield Finding(
            Grade.PROBLEM,
            f"--out {str(out)!r}: {free / 1024**2:.0f} MB are free there, a run needs "
            f"{MIN_FREE_BYTES / 1024**2:.0f} MB or more. Make room, or name another disk.",
        )
    else:
        yield Finding(Grade.OK, f"disk: {free / 1024**3:.1f} GB free in {str(folder)!r}")


def _memory(workers: int) -> Iterator[Finding]:
    free, needed = psutil.virtual_memory().available, workers * WORKER_BYTES
    text = f"memory: {free / 1024**3:.1f} GB free, {workers} workers need some "
    text += f"{needed / 1024**3:.1f} GB"
    if free < needed:
        yield Finding(Grade.WARNING, f"{text}: ask for fewer by --workers.")
    else:
        yield Finding(Grade.OK, text)


def _shared_memory() -> Iterator[Finding]:
    if not SHARED_MEMORY.is_dir():
        return
    free = shutil.disk_usage(SHARED_MEMORY).free
    text = f"shared memory: {free / 1024**2:.0f} MB free in {SHARED_MEMORY}"
    if free < MIN_SHARED_BYTES:
        yield Finding(
            Grade.WARNING,
            f"{text}: Ray will keep the data on disk, which is slow. In Docker: --shm-size=2g.",
        )
    else:
        yield Finding(Grade.OK, text)


def _scratch_disk() -> Iterator[Finding]:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        yield Finding(
            Grade.PROBLEM,
            f"{free / 1024**2:.0f} MB are free in {folder!r}, where Ray and trials write; expected "
            f"{MIN_FREE_BYTES / 1024**2:.0f} MB or more. Make room there.",
        )


def _data(data: Data) -> Iterator[Finding]:
    import numpy as np

    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    for name, split in splits.items():
        for array in split or ():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                yield Finding(
                    Grade.PROBLEM,
                    f"data: the {name} split holds numbers that are not finite: every trial would "
                    "diverge. Clean it.",
                )
    sizes = ", ".join(f"{name} {len(split[0])}" for name, split in splits.items() if split)
    yield Finding(Grade.OK, f"data: {sizes}; digest {data.digest()}")


def _corners(problem: Problem, data: Data | None) -> Iterator[Finding]:
    from search.worker import process

    process.set_up(sees_gpus=False)
    assert problem.hypermodel is not None
    try:
        space = process.discover(problem.hypermodel)
    except SearchError as error:
        named = f"--hypermodel {problem.hypermodel!r}: "
        yield Finding(Grade.PROBLEM, named + str(error).removeprefix(named))
        return
    if data is None:
        return
    train, validation = (
        (inputs[:SAMPLES], targets[:SAMPLES]) for inputs, targets in (data.train, data.validation)
    )
    sample = Data(train, validation)
    ends = corners(space)
    wrong = 0
    for number, values in enumerate(ends):
        for finding in _tried(problem, sample, number, values):
            wrong += 1
            yield finding
            if finding.text.startswith(OBJECTIVE):
                return  # no other corner would report it
    if not wrong:
        yield Finding(
            Grade.OK,
            f"space: {len(ends)} corners built and trained; each reports {problem.objective.name}",
        )


def _tried(problem: Problem, data: Data, number: int, values: Values) -> Iterator[Finding]:
    from search.worker.callbacks import ObjectiveMissing
    from search.worker.trial import run_trial

    task = dataclasses.replace(Task.of(problem), epochs=1)
    with quiet_training():
        end = run_trial(
            task, data, trial=number, values=values, report=lambda _epoch: True, folder=None
        )
    where = format_values(values)
    if end.fatal == ObjectiveMissing.__name__:
        yield Finding(Grade.PROBLEM, f"{OBJECTIVE}: {end.error}")
        return
    if end.state in (State.FAILED, State.OUT_OF_MEMORY):
        yield Finding(
            Grade.PROBLEM,
            f"space: {end.error} at {where}: mend the builder there, or narrow the space.",
        )
    elif end.state is State.DIVERGED:
        yield Finding(Grade.WARNING, f"space: diverges at {where} ({end.error}).")


def _nodes(plan: Plan, address: str, digest: str | None) -> Iterator[Finding]:
    try:
        with connect_to_ray(
            address, plan.workers, source_paths(plan.problem.hypermodel, plan.problem.data)
        ):
            reports = call_on_every_node(_report, plan.problem)
    except SearchError as error:
        yield Finding(Grade.PROBLEM, str(error))
        return
    yield from _of_nodes(reports, digest)


def _of_nodes(reports: Iterable["_Report | str"], digest: str | None) -> Iterator[Finding]:
    here = _installed()
    for report in reports:
        if isinstance(report, str):
            yield Finding(Grade.PROBLEM, report)
        else:
            yield from _of_a_node(report, here, digest)


@dataclass(frozen=True)
class _Report:
    """What a node says of itself."""

    host: str
    versions: dict[str, str]
    findings: tuple[Finding, ...]
    digest: str | None
    error: str | None


def _report(problem: Problem | None) -> _Report:
    """Look at the node that this is called on; load the data of a problem, where one is given."""
    digest, error = None, None
    try:
        digest = load_data(problem, needs_test=False).digest() if problem else None
    except Exception as raised:
        error = str(raised) if isinstance(raised, SearchError) else one_line(raised)
    findings = (*_shared_memory(), *_scratch_disk())
    return _Report(socket.gethostname(), _installed(), findings, digest, error)


def _of_a_node(report: _Report, here: dict[str, str], digest: str | None) -> Iterator[Finding]:
    host, wrong = report.host, 0
    for name, version in here.items():
        there = report.versions.get(name, "missing")
        if there != version:
            wrong += 1
            minor = name == "python" and there.rpartition(".")[0] == version.rpartition(".")[0]
            yield Finding(
                Grade.WARNING if minor else Grade.PROBLEM,
                f"{host}: {name} is {there}, here it is {version}: install the same there.",
            )
    unusable = report.error
    if unusable is None and digest is not None and report.digest != digest:
        unusable = f"its data have digest {report.digest}, here it is {digest}"
    if unusable is not None:
        wrong += 1
        yield Finding(
            Grade.WARNING,
            f"{host}: its own copy of the data cannot be used ({unusable.rstrip('.')}): a search "
            "sends it those of the head. Remove or mend that copy.",
        )
    for finding in report.findings:
        if finding.grade is not Grade.OK:
            wrong += 1
            yield Finding(finding.grade, f"{host}: {finding.text}")
    if not wrong:
        yield Finding(Grade.OK, f"{host}: versions, data and shared memory as here")


def _installed() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for requirement in _required():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[requirement.name] = importlib.metadata.version(requirement.name)
    return versions


def _required() -> list[Requirement]:
    """Return the packages that this one needs, without the tools of developers."""
    required = [Requirement(text) for text in importlib.metadata.requires(PACKAGE) or ()]
    return [
        requirement
        for requirement in required
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    ]


def is_ready(findings: Iterable[Finding]) -> bool:
    """Tell whether nothing stands in the way of a search."""
    return all(finding.grade is not Grade.PROBLEM for finding in findings)
