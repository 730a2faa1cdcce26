"""The work after a search: retrains or confirms its best, then audits its early stopping."""

import contextlib
import math
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from results.record import columns
from results.record.audit import Audit
from results.record.columns import Device
from results.record.confirmation import Confirmation
from results.record.files import read_json
from results.record.history import History
from results.record.journal import describe_damage
from results.record.tables import write_tables
from search.errors import UsageError, raise_any
from search.final.audit import audit, sample_stopped, stopped_trials
from search.final.confirm import confirm, confirmed_trials, distinct_trials, make_candidates
from search.final.retrain import retrain
from search.final.training import Share, Trainer
from search.machine.machine import this_machine
from search.plan.importer import source_paths
from search.plan.plan import NO_RETRAINING, ConfirmationPlan, Plan
from search.ray.neighbours import Request, beside_others
from search.ray.nodes import largest_node_amount, local_amount, trial_slots
from search.ray.renewable import RenewableRay, StoredData, fetch, store_data
from search.ray.runtime import connect_to_ray, has_ray
from search.session.origin import check_data
from search.session.run_file import RecordedRun, read_run
from search.session.stopping import INTERRUPTED
from search.storage.folder import RunFolder, locked_run
from search.view.view import View

# The reason in the outcome of a command that only follows up an earlier search.
FOLLOWED_UP = "followed"


@dataclass(frozen=True)
class FollowUp:
    """The work to do after a search.

    Attributes:
        retrain_epochs: Numbers of epochs at which to retrain the best configuration, unless a
            confirmation makes the final model; empty: no retraining.
        confirmation: The candidates and seeds of the confirmation; None: no confirmation.
        audit: Number of stopped trials to train to their end; None: no audit.
        always_retrains: Whether to retrain even if the final model is that of the best trial.
    """

    retrain_epochs: tuple[int, ...] = ()
    confirmation: ConfirmationPlan | None = None
    audit: int | None = None
    always_retrains: bool = False

    @classmethod
    def of(cls, plan: Plan) -> "FollowUp":
        """Return the work that a plan asks for after its search."""
        return cls(plan.retrain_epochs, plan.confirmation, plan.audit)

    @property
    def makes_final_model(self) -> bool:
        """Whether it makes a final model, which needs the test split."""
        return bool(self.retrain_epochs or self.confirmation)

    @property
    def only_retrains(self) -> bool:
        """Whether it only retrains the best configuration."""
        return bool(self.retrain_epochs) and self.confirmation is None and self.audit is None


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    Attributes:
        reason: Why the search ended; ``interrupted`` if its follow-up was interrupted;
            ``FOLLOWED_UP`` if an earlier search was only followed up.
        evaluation: Content of ``final/evaluation.json``; None if there is no final model.
    """

    folder: RunFolder
    reason: str
    history: History
    evaluation: dict[str, Any] | None = None
    confirmation: Confirmation | None = None
    audit: Audit | None = None


def run_follow_up(
    plan: Plan, follow_up: FollowUp, stored: StoredData, outcome: Outcome, view: View
) -> Outcome:
    """Do the work after a search on a running Ray, which stores the splits of the search."""
    if _has_no_work(follow_up, outcome):
        return outcome
    trainer = Trainer(plan.problem, stored.content, _share(plan))
    try:
        if follow_up.confirmation is not None:
            outcome = _confirm(follow_up.confirmation, trainer, outcome, view)
        elif follow_up.retrain_epochs:
            reused = _reuse_final(follow_up, outcome, view)
            outcome = reused or _retrain(follow_up, plan.gpu_share, trainer, outcome, view)
        if follow_up.audit is not None:
            outcome = _audit(follow_up.audit, trainer, outcome, view)
    except KeyboardInterrupt:
        return replace(outcome, reason=INTERRUPTED)
    return outcome


def start_follow_up(
    plan: Plan, follow_up: FollowUp, outcome: Outcome, view: View, *, description: dict[str, Any]
) -> Outcome:
    """Start or join Ray, load the data of the run, and do the work after its search.

    Args:
        plan: The plan of the run; names the cluster to join, if any.
        follow_up: The work to do.
        outcome: The result of the search.
        view: Shows the progress.
        description: Content of run.json, to check the data by; empty: no check.
    """
    if _has_no_work(follow_up, outcome):
        return outcome
    if follow_up.only_retrains and (reused := _reuse_final(follow_up, outcome, view)):
        return reused
    raise_any(list(plan.reference_problems()))
    code = source_paths(plan.problem.hypermodel, plan.problem.data)
    with contextlib.ExitStack() as stack:
        cpus = this_machine().cpus(plan.cpus_per_trial)
        if plan.address is None and not has_ray():
            workers = this_machine().workers(plan.cpus_per_trial)
            request = replace(Request.of(plan), workers=workers, is_asked=False)
            left = stack.enter_context(beside_others(request, view.note))
            cpus = cpus if left == workers else math.ceil(left * plan.cpus_per_trial)
        start = partial(connect_to_ray, plan.address, cpus, code, forks=plan.gpu_share is None)
        store = partial(store_data, plan.problem, needs_test=follow_up.makes_final_model)
        ray = stack.enter_context(RenewableRay(start, store, say=view.note))
        check_data(outcome.folder, description, str(fetch(ray.stored.digest)), view.note)
        return run_follow_up(plan, follow_up, ray.stored, outcome, view)


def retrain_run(path: Path, retrain_epochs: tuple[int, ...], view: View) -> Outcome:
    """Retrain and evaluate the best configuration of an earlier run.

    Raises:
        SearchError: The folder is no run, no trial of it reported a value, or retraining failed.
    """
    if not retrain_epochs or min(retrain_epochs) < 1:
        numbers = ",".join(map(str, retrain_epochs)) or NO_RETRAINING
        raise UsageError(
            f"--retrain-epochs {numbers}: expected numbers of 1 or more, such as 20,50."
        )
    with _locked_search(path, view) as run:
        return _follow_up(run, FollowUp(retrain_epochs, always_retrains=True), view, address=None)


def confirm_run(path: Path, plan: ConfirmationPlan, view: View, *, address: str | None) -> Outcome:
    """Train the best configurations of a run on new seeds, and evaluate the best of them.

    Raises:
        SearchError: The folder is no run, it has fewer trials than planned, or a training failed.
    """
    raise_any(list(plan.problems(top_option="--top")))
    with _locked_search(path, view) as run:
        make_candidates(run.history, plan)  # raises before Ray is started
        return _follow_up(run, FollowUp(confirmation=plan), view, address=address)


def audit_run(path: Path, count: int, view: View, *, address: str | None) -> Outcome:
    """Train some stopped trials of a run to their end, and report what early stopping cost.

    Raises:
        SearchError: The folder is no run, fewer of its trials were stopped, or training failed.
    """
    if count < 1:
        raise UsageError(f"--trials {count}: expected 1 or more.")
    with _locked_search(path, view) as run:
        sample_stopped(run.history, count, seed=0)  # raises before Ray is started
        return _follow_up(run, FollowUp(audit=count), view, address=address)


@contextmanager
def _locked_search(path: Path, view: View) -> Iterator[RecordedRun]:
    """Lock a run and read its search.

    Raises:
        SearchError: The folder is no run, names no hypermodel, or no trial of it reported a value.
    """
    folder = RunFolder.open(path)
    with locked_run(folder, view.note):
        run = read_run(folder)
        if run.problem.hypermodel is None:
            raise UsageError(
                f"{str(path)!r} does not name its hypermodel, since a script (RayTuner) made it or "
                "it was imported: expected a run of `fmnist-search run`. Build its best in the "
                "script, with tuner.get_best_hyperparameters()."
            )
        if run.damaged_lines:
            view.note(describe_damage(run.damaged_lines))
        if run.history.best is None:
            raise UsageError(
                f"{str(path)!r}: no trial has reported a value: expected one at least. Continue "
                f"the search: `fmnist-search resume {shlex.quote(str(path))}`."
            )
        yield run


def _follow_up(
    run: RecordedRun, follow_up: FollowUp, view: View, *, address: str | None
) -> Outcome:
    """Do the work after the search of a run, on a cluster or on this machine."""
    plan = replace(run.plan, address=address, wait=False)
    write_tables(run.folder.path, run.history)
    outcome = Outcome(run.folder, FOLLOWED_UP, run.history)
    return start_follow_up(plan, follow_up, outcome, view, description=run.description)


def _has_no_work(follow_up: FollowUp, outcome: Outcome) -> bool:
    """Tell whether there is nothing to do after the search."""
    is_cut_off = outcome.reason == INTERRUPTED or outcome.history.best is None
    return is_cut_off or not (follow_up.makes_final_model or follow_up.audit)


def _reuse_final(follow_up: FollowUp, outcome: Outcome, view: View) -> Outcome | None:
    """Return the outcome with the final model of the run; None if a new one is to be made."""
    assert outcome.history.best is not None
    file = outcome.folder.final / columns.EVALUATION_FILE
    if follow_up.always_retrains or not file.exists():
        return None
    evaluation, best = read_json(file), outcome.history.best.trial
    planned = sorted(set(follow_up.retrain_epochs))
    if columns.CONFIRMED_SEEDS in evaluation and best in confirmed_trials(outcome.folder):
        view.note(
            f"keeping the final model: it won the confirmation, which included trial {best} "
            "(`fmnist-search retrain` replaces it by the best of the search)"
        )
    elif (evaluation.get("trial"), evaluation.get("retrain_epochs")) == (best, planned):
        view.note(f"keeping the final model: it is that of the best trial ({best})")
    else:
        return None
    return replace(outcome, evaluation=evaluation)


def _share(plan: Plan) -> Share:
    """Return the resources of a training: those of a trial, as far as any node has them."""
    cpus = min(plan.cpus_per_trial, largest_node_amount("CPU") or plan.cpus_per_trial)
    has_gpus = plan.gpu_share is not None and trial_slots(plan.resources | {"cpu": cpus}) > 0
    return Share(cpus, max(1, int(cpus)), plan.gpu_share if has_gpus else None)


def _audit(count: int, trainer: Trainer, outcome: Outcome, view: View) -> Outcome:
    available = len(stopped_trials(outcome.history))
    if available < count:
        view.note(f"--audit {count}: only {available} trials were stopped")
    if not available:
        return outcome
    count = min(count, available)
    result = audit(trainer, outcome.history, count, outcome.folder, view.note)
    return replace(outcome, audit=result)


def _confirm(plan: ConfirmationPlan, trainer: Trainer, outcome: Outcome, view: View) -> Outcome:
    available = len(distinct_trials(outcome.history))
    if available < plan.top:
        view.note(f"--confirm {plan.top}: only {available} configurations have reported a value")
        plan = replace(plan, top=available)
    confirmation = confirm(trainer, outcome.history, plan, outcome.folder, view.note)
    evaluation = read_json(outcome.folder.final / columns.EVALUATION_FILE)
    return replace(outcome, confirmation=confirmation, evaluation=evaluation)


def _retrain(
    follow_up: FollowUp, gpu_share: float | None, trainer: Trainer, outcome: Outcome, view: View
) -> Outcome:
    assert outcome.history.best is not None
    best = outcome.history.trials[outcome.history.best.trial]
    epochs = ", ".join(map(str, follow_up.retrain_epochs))
    view.note(f"retraining trial {best.trial} at {epochs} epochs, then one test of the final model")
    share = gpu_share if best.device is not Device.CPU else None
    if share is not None and local_amount("GPU") < share:
        view.note("this node has too few GPUs: the final model is trained on its CPUs")
        share = None
    cores = int(local_amount("CPU"))
    threads = max(1, cores // len(set(follow_up.retrain_epochs)))
    # On this node, which has the run folder; the head of a cluster may offer no CPU.
    local_share = Share(threads if cores else 0, threads, share, is_local=True)
    trainer = replace(trainer, share=local_share)
    evaluation = retrain(trainer, best, follow_up.retrain_epochs, outcome.folder, view.progress)
    return replace(outcome, evaluation=evaluation)
