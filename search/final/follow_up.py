"""What follows a search: retraining its best, or confirming it, then the audit of its stops."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from results.record import columns
from results.record.columns import Device
from results.record.files import read_json
from results.record.history import History
from results.record.journal import read
from search.errors import UsageError
from search.final.audit import audit, chosen, stopped
from search.final.confirm import candidates, confirm, confirmed_trials, different
from search.final.retrain import retrain
from search.final.training import Share
from search.plan.importer import sources
from search.plan.plan import Confirmation, Plan, Problem, available_cores
from search.ray.nodes import cores_here, gpus_here, most_cpus, slots
from search.ray.runtime import RenewableRay, Stored, cluster, fetch, stored_data
from search.session.origin import check_data
from search.session.run_file import described_plan, described_problem, read_asked
from search.session.session import write_outcome
from search.session.stopping import INTERRUPTED
from search.storage.folder import RunFolder, locked_run
from search.view.view import View

FOLLOWED = "followed"


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        folder: Where it is.
        reason: Why the search ended, or ``interrupted`` of what follows it; ``FOLLOWED`` where a
            search of before was only followed up.
        history: All trials.
        evaluation: What ``final/evaluation.json`` says; None where nothing was retrained.
        confirmation: What ``confirm/confirmation.json`` says; None where nothing was confirmed.
        audit: What ``audit/audit.json`` says; None where nothing was audited.
    """

    folder: RunFolder
    reason: str
    history: History
    evaluation: dict[str, Any] | None = None
    confirmation: dict[str, Any] | None = None
    audit: dict[str, Any] | None = None


def is_done(plan: Plan, found: Outcome) -> bool:
    """Tell whether nothing follows the search."""
    return found.reason == INTERRUPTED or not (plan.retrain_epochs or plan.audit)


def follow(
    plan: Plan,
    stored: Stored,
    found: Outcome,
    view: View,
    *,
    confirmation: Confirmation | None = None,
    is_anew: bool = False,
) -> Outcome:
    """Do what follows a search under its plan. Ray is running already.

    Args:
        plan: What was asked.
        stored: The splits.
        found: What the search came to.
        view: What the user sees.
        confirmation: What is confirmed, in the place of what the plan says.
        is_anew: Whether a final model that is of the best trial already is retrained.
    """
    share = _share(plan)
    confirmation = confirmation or plan.confirmation
    try:
        if confirmation is not None:
            found = _confirmed(plan.problem, confirmation, stored, found, share, view)
        elif plan.retrain_epochs:
            standing = None if is_anew else standing_final(plan, found, view)
            found = standing or _retrained(plan, stored, found, view)
        if plan.audit is not None:
            found = _audited(plan.problem, plan.audit, stored, found, share, view)
    except KeyboardInterrupt:
        return replace(found, reason=INTERRUPTED)
    return found


def follow_alone(
    plan: Plan, found: Outcome, view: View, *, asked: dict[str, Any], **how: Any
) -> Outcome:
    """Do what follows where there is no search before it, on the data of the run.

    Args:
        plan: What was asked; trained on its cluster, or on this machine.
        found: What the search came to.
        view: What the user sees.
        asked: What run.json says; empty where its data need no check.
        how: As for ``follow``.
    """
    code = sources(plan.problem.hypermodel, plan.problem.data)
    needs_test = bool(plan.retrain_epochs or how.get("confirmation"))
    ray = RenewableRay(
        partial(cluster, plan.address, available_cores(), code, forks=plan.gpu_share is None),
        partial(stored_data, plan.problem, needs_test=needs_test),
        say=view.note,
    )
    with ray:
        check_data(found.folder, asked, str(fetch(ray.stored.digest)))
        return follow(plan, ray.stored, found, view, **how)


def standing_final(plan: Plan, found: Outcome, view: View) -> Outcome | None:
    """Return what is there already where the final model is of the best trial, or confirmed."""
    assert found.history.best is not None
    file = found.folder.final / columns.EVALUATION_FILE
    if not file.exists():
        return None
    evaluation, best = read_json(file), found.history.best.trial
    if columns.CONFIRMED_SEEDS in evaluation and best in confirmed_trials(found.folder):
        view.note(
            f"the final model is confirmed, and trial {best} was among them: it stands "
            "(`fmnist-search retrain` makes one of the search's best)"
        )
    elif (evaluation.get("trial"), evaluation.get("retrain_epochs")) == (
        best,
        sorted(set(plan.retrain_epochs)),
    ):
        view.note(f"the final model is of the best trial ({best}) already: it stands")
    else:
        return None
    return replace(found, evaluation=evaluation)


def retrain_run(path: Path, retrain_epochs: tuple[int, ...], view: View) -> Outcome:
    """Retrain and evaluate the best configuration of a run that was made before.

    Raises:
        SearchError: The folder is no run, no trial of it reported a value, or retraining failed.
    """
    if not retrain_epochs or min(retrain_epochs) < 1:
        raise UsageError(f"--retrain-epochs {list(retrain_epochs)}: expected 1 or more each.")
    changes = {"retrain_epochs": retrain_epochs, "confirm": None, "audit": None}
    return _of_a_run(path, view, lambda _history: changes, is_anew=True)


def confirm_run(path: Path, asked: Confirmation, view: View, *, address: str | None) -> Outcome:
    """Train the best configurations of a run on new seeds, and evaluate the best of them.

    Raises:
        SearchError: The folder is no run, it has fewer trials than are asked for, or a training
            failed.
    """
    wrong = list(asked.problems())
    if wrong:
        raise UsageError("\n".join(wrong))

    def changes(history: History) -> dict[str, Any]:
        candidates(history, asked)  # before anything is started
        return {"confirm": None, "audit": None, "address": address}

    return _of_a_run(path, view, changes, confirmation=asked)


def audit_run(path: Path, count: int, view: View, *, address: str | None) -> Outcome:
    """Let some trials of a run that were stopped run to their end.

    Raises:
        SearchError: The folder is no run, fewer of its trials were stopped, or training failed.
    """
    if count < 1:
        raise UsageError(f"--audit {count}: expected 1 or more.")

    def changes(history: History) -> dict[str, Any]:
        chosen(history, count, 0)
        return {"audit": count, "confirm": None, "retrain_epochs": (), "address": address}

    return _of_a_run(path, view, changes)


def _of_a_run(
    path: Path, view: View, changes: Callable[[History], dict[str, Any]], **how: Any
) -> Outcome:
    """Do what follows, of a run that was made before."""
    folder = RunFolder.open(path)
    with locked_run(folder, view.note):
        content = read(folder.journal_file)
        asked = read_asked(folder, content.events)
        if described_problem(folder, asked).hypermodel is None:
            raise UsageError(
                f"{str(path)!r} does not name its builder, as it comes from a script (RayTuner) or "
                "was imported: build its best there, with tuner.get_best_hyperparameters()."
            )
        if content.damaged_lines:
            view.note(f"journal: damaged lines left out: {list(content.damaged_lines)}")
        plan = replace(described_plan(folder, asked), address=None)
        history = History.replay(plan.problem.objective, content.events)
        if history.best is None:
            raise UsageError(
                f"{str(path)!r}: no trial has reported a value, so none can be retrained."
            )
        plan = replace(plan, **changes(history))
        write_outcome(folder, history)
        found = Outcome(folder, FOLLOWED, history)
        return follow_alone(plan, found, view, asked=asked, **how)


def _share(plan: Plan) -> Share:
    """Return what a training takes: as much as a trial did, where there is as much."""
    cpus = min(plan.cpus_per_trial, most_cpus() or plan.cpus_per_trial)
    has_gpus = plan.gpu_share is not None and slots(plan.resources | {"cpu": cpus}) > 0
    return Share(cpus, max(1, int(cpus)), plan.gpu_share if has_gpus else None)


def _audited(
    problem: Problem, count: int, stored: Stored, found: Outcome, share: Share, view: View
) -> Outcome:
    there = len(stopped(found.history))
    if there < count:
        view.note(f"--audit {count}: {there} trials were stopped")
    if not there:
        return found
    told = audit(
        problem,
        stored.content,
        found.history,
        min(count, there),
        folder=found.folder,
        share=share,
        say=view.note,
    )
    return replace(found, audit=told)


def _confirmed(
    problem: Problem,
    asked: Confirmation,
    stored: Stored,
    found: Outcome,
    share: Share,
    view: View,
) -> Outcome:
    there = len(different(found.history))
    if there < asked.top:
        view.note(f"--confirm {asked.top}: {there} configurations have reported a value")
    told = confirm(
        problem,
        stored.content,
        found.history,
        replace(asked, top=min(asked.top, there)),
        folder=found.folder,
        share=share,
        say=view.note,
    )
    evaluation = read_json(found.folder.final / columns.EVALUATION_FILE)
    return replace(found, confirmation=told, evaluation=evaluation)


def _retrained(plan: Plan, stored: Stored, found: Outcome, view: View) -> Outcome:
    assert found.history.best is not None
    best = found.history.trials[found.history.best.trial]
    epochs = ", ".join(str(number) for number in plan.retrain_epochs)
    view.note(f"retraining trial {best.trial} at {epochs} epochs, then one look at the test set")
    share = plan.gpu_share if best.device is not Device.CPU else None
    if share is not None and gpus_here() < share:
        view.note("this node has no such GPU: the final model is trained on its CPUs")
        share = None
    evaluation = retrain(
        plan.problem,
        stored.content,
        best.values,
        trial=best.trial,
        folder=found.folder,
        retrain_epochs=plan.retrain_epochs,
        cores=cores_here(),
        gpu_share=share,
        progress=view.progress,
    )
    return replace(found, evaluation=evaluation)
