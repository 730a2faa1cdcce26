"""What follows a search: retraining its best, or confirming it, then the audit of its stops."""

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
from results.record.tables import write_tables
from search.errors import UsageError, raise_any
from search.final.audit import audit, sampled, stopped
from search.final.confirm import candidates, confirm, confirmed_trials, distinct
from search.final.retrain import retrain
from search.final.training import Share, Trainer
from search.plan.importer import source_paths
from search.plan.plan import ConfirmationPlan, Plan, available_cores
from search.ray.nodes import largest_node_amount, local_amount, trial_slots
from search.ray.renewable import RenewableRay, StoredData, fetch, store_data
from search.ray.runtime import connect_to_ray
from search.session.origin import check_data
from search.session.run_file import RecordedRun, read_run
from search.session.stopping import INTERRUPTED
from search.storage.folder import RunFolder, locked_run
from search.view.view import View

FOLLOWED = "followed"


@dataclass(frozen=True)
class FollowUp:
    """What is to follow a search.

    Attributes:
        retrain_epochs: Numbers of epochs at which the best configuration is retrained, unless
            a confirmation makes the final model.
        confirmation: What is trained again on new seeds; None: nothing.
        audit: So many of the stopped trials are trained to their end; None: none.
        is_anew: Whether to retrain even where the final model is of the best trial already.
    """

    retrain_epochs: tuple[int, ...] = ()
    confirmation: ConfirmationPlan | None = None
    audit: int | None = None
    is_anew: bool = False

    @classmethod
    def of(cls, plan: Plan) -> "FollowUp":
        """Return what follows the search of a plan."""
        return cls(plan.retrain_epochs, plan.confirmation, plan.audit)

    @property
    def makes_final_model(self) -> bool:
        """Whether a final model is made, which reads the test split."""
        return bool(self.retrain_epochs or self.confirmation)

    @property
    def only_retrains(self) -> bool:
        """Whether nothing but the best configuration is trained."""
        return bool(self.retrain_epochs) and self.confirmation is None and self.audit is None


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    Attributes:
        reason: Why the search ended, or ``interrupted`` of what follows it; ``FOLLOWED`` where a
            search of before was only followed up.
        evaluation: What ``final/evaluation.json`` says; None where nothing was retrained.
    """

    folder: RunFolder
    reason: str
    history: History
    evaluation: dict[str, Any] | None = None
    confirmation: Confirmation | None = None
    audit: Audit | None = None


def follow(
    plan: Plan, follow_up: FollowUp, stored: StoredData, outcome: Outcome, view: View
) -> Outcome:
    """Do what follows a search, on its splits, which are stored. Ray is running already."""
    if _is_done(follow_up, outcome):
        return outcome
    trainer = Trainer(plan.problem, stored.content, _share(plan))
    try:
        if follow_up.confirmation is not None:
            outcome = _confirmed(follow_up.confirmation, trainer, outcome, view)
        elif follow_up.retrain_epochs:
            standing = _standing_final(follow_up, outcome, view)
            outcome = standing or _retrained(follow_up, plan.gpu_share, trainer, outcome, view)
        if follow_up.audit is not None:
            outcome = _audited(follow_up.audit, trainer, outcome, view)
    except KeyboardInterrupt:
        return replace(outcome, reason=INTERRUPTED)
    return outcome


def follow_alone(
    plan: Plan, follow_up: FollowUp, outcome: Outcome, view: View, *, description: dict[str, Any]
) -> Outcome:
    """Do what follows where no search has started Ray, on the data of the run.

    Args:
        plan: Trained on its cluster, or on this machine.
        follow_up: What is to be done.
        outcome: The result of the search.
        view: What the user sees.
        description: What run.json says; empty where the data need no check.
    """
    if _is_done(follow_up, outcome):
        return outcome
    if follow_up.only_retrains and (standing := _standing_final(follow_up, outcome, view)):
        return standing
    code = source_paths(plan.problem.hypermodel, plan.problem.data)
    ray = RenewableRay(
        partial(
            connect_to_ray, plan.address, available_cores(), code, forks=plan.gpu_share is None
        ),
        partial(store_data, plan.problem, needs_test=follow_up.makes_final_model),
        say=view.note,
    )
    with ray:
        check_data(outcome.folder, description, str(fetch(ray.stored.digest)))
        return follow(plan, follow_up, ray.stored, outcome, view)


def retrain_run(path: Path, retrain_epochs: tuple[int, ...], view: View) -> Outcome:
    """Retrain and evaluate the best configuration of a run that was made before.

    Raises:
        SearchError: The folder is no run, no trial of it reported a value, or retraining failed.
    """
    if not retrain_epochs or min(retrain_epochs) < 1:
        raise UsageError(f"--retrain-epochs {list(retrain_epochs)}: expected 1 or more each.")
    with _ended_search(path, view) as run:
        return _followed(run, FollowUp(retrain_epochs, is_anew=True), view, address=None)


def confirm_run(
    path: Path, planned: ConfirmationPlan, view: View, *, address: str | None
) -> Outcome:
    """Train the best configurations of a run on new seeds, and evaluate the best of them.

    Raises:
        SearchError: The folder is no run, it has fewer trials than are asked for, or a training
            failed.
    """
    raise_any(list(planned.problems()))
    with _ended_search(path, view) as run:
        candidates(run.history, planned)  # before anything is started
        return _followed(run, FollowUp(confirmation=planned), view, address=address)


def audit_run(path: Path, count: int, view: View, *, address: str | None) -> Outcome:
    """Let some trials of a run that were stopped run to their end.

    Raises:
        SearchError: The folder is no run, fewer of its trials were stopped, or training failed.
    """
    if count < 1:
        raise UsageError(f"--audit {count}: expected 1 or more.")
    with _ended_search(path, view) as run:
        sampled(run.history, count, seed=0)  # before anything is started
        return _followed(run, FollowUp(audit=count), view, address=address)


@contextmanager
def _ended_search(path: Path, view: View) -> Iterator[RecordedRun]:
    """Lock a run and read what it has searched.

    Raises:
        SearchError: The folder is no run, names no builder, or no trial of it reported a value.
    """
    folder = RunFolder.open(path)
    with locked_run(folder, view.note):
        run = read_run(folder)
        if run.problem.hypermodel is None:
            raise UsageError(
                f"{str(path)!r} does not name its builder, as it comes from a script (RayTuner) or "
                "was imported: build its best there, with tuner.get_best_hyperparameters()."
            )
        if run.damaged_lines:
            view.note(f"journal: damaged lines left out: {list(run.damaged_lines)}")
        if run.history.best is None:
            raise UsageError(
                f"{str(path)!r}: no trial has reported a value, so none can be retrained."
            )
        yield run


def _followed(run: RecordedRun, follow_up: FollowUp, view: View, *, address: str | None) -> Outcome:
    """Do what follows the search of a run, on a cluster or on this machine."""
    plan = replace(run.plan, address=address)
    write_tables(run.folder.path, run.history)
    outcome = Outcome(run.folder, FOLLOWED, run.history)
    return follow_alone(plan, follow_up, outcome, view, description=run.description)


def _is_done(follow_up: FollowUp, outcome: Outcome) -> bool:
    """Tell whether nothing follows the search."""
    is_cut_off = outcome.reason == INTERRUPTED or outcome.history.best is None
    return is_cut_off or not (follow_up.makes_final_model or follow_up.audit)


def _standing_final(follow_up: FollowUp, outcome: Outcome, view: View) -> Outcome | None:
    """Return the outcome with the final model that stands, unless another is to be made."""
    assert outcome.history.best is not None
    file = outcome.folder.final / columns.EVALUATION_FILE
    if follow_up.is_anew or not file.exists():
        return None
    evaluation, best = read_json(file), outcome.history.best.trial
    planned = sorted(set(follow_up.retrain_epochs))
    if columns.CONFIRMED_SEEDS in evaluation and best in confirmed_trials(outcome.folder):
        view.note(
            f"the final model is confirmed, and trial {best} was among them: it stands "
            "(`fmnist-search retrain` makes one of the search's best)"
        )
    elif (evaluation.get("trial"), evaluation.get("retrain_epochs")) == (best, planned):
        view.note(f"the final model is of the best trial ({best}) already: it stands")
    else:
        return None
    return replace(outcome, evaluation=evaluation)


def _share(plan: Plan) -> Share:
    """Return the resources of a training: those of a trial, as far as a node has them."""
    cpus = min(plan.cpus_per_trial, largest_node_amount("CPU") or plan.cpus_per_trial)
    has_gpus = plan.gpu_share is not None and trial_slots(plan.resources | {"cpu": cpus}) > 0
    return Share(cpus, max(1, int(cpus)), plan.gpu_share if has_gpus else None)


def _audited(count: int, trainer: Trainer, outcome: Outcome, view: View) -> Outcome:
    available = len(stopped(outcome.history))
    if available < count:
        view.note(f"--audit {count}: {available} trials were stopped")
    if not available:
        return outcome
    count = min(count, available)
    made = audit(trainer, outcome.history, count, outcome.folder, view.note)
    return replace(outcome, audit=made)


def _confirmed(
    planned: ConfirmationPlan, trainer: Trainer, outcome: Outcome, view: View
) -> Outcome:
    available = len(distinct(outcome.history))
    if available < planned.top:
        view.note(f"--confirm {planned.top}: {available} configurations have reported a value")
        planned = replace(planned, top=available)
    made = confirm(trainer, outcome.history, planned, outcome.folder, view.note)
    evaluation = read_json(outcome.folder.final / columns.EVALUATION_FILE)
    return replace(outcome, confirmation=made, evaluation=evaluation)


def _retrained(
    follow_up: FollowUp, gpu_share: float | None, trainer: Trainer, outcome: Outcome, view: View
) -> Outcome:
    assert outcome.history.best is not None
    best = outcome.history.trials[outcome.history.best.trial]
    epochs = ", ".join(map(str, follow_up.retrain_epochs))
    view.note(f"retraining trial {best.trial} at {epochs} epochs, then one look at the test set")
    share = gpu_share if best.device is not Device.CPU else None
    if share is not None and local_amount("GPU") < share:
        view.note("this node has no such GPU: the final model is trained on its CPUs")
        share = None
    cores = int(local_amount("CPU"))
    threads = max(1, cores // len(set(follow_up.retrain_epochs)))
    # On this node, where the run folder is; a head of a cluster may offer no CPU.
    here = Share(threads if cores else 0, threads, share, is_here=True)
    trainer = replace(trainer, share=here)
    evaluation = retrain(trainer, best, follow_up.retrain_epochs, outcome.folder, view.progress)
    return replace(outcome, evaluation=evaluation)
