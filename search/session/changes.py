"""What a user changes in a run that goes on."""

from dataclasses import dataclass, fields, replace
from typing import Any

from search.errors import UsageError
from search.plan.plan import GPU, Plan, gpu_resources, local_workers
from search.plan.registry import Log


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What changes in a run that goes on, in the terms of its plan; None: as before.

    Attributes:
        trials: Most trials, those of before included.
        epochs: Most epochs of a trial that is new.
        time_budget_seconds: Seconds of search in all, those of before included.
        gpus_per_trial: GPU of a trial; 0: none.
        address: The Ray cluster that is joined now, whatever it was before; None: none is.
    """

    trials: int | None = None
    epochs: int | None = None
    workers: int | None = None
    time_budget_seconds: float | None = None
    target: float | None = None
    retrain_epochs: tuple[int, ...] | None = None
    log: Log | None = None
    gpus_per_trial: float | None = None
    gpus: float | None = None
    confirm: int | None = None
    seeds: int | None = None
    audit: int | None = None
    address: str | None = None

    def applied(self, plan: Plan) -> Plan:
        """Return a plan with the changes made."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values = {name: value for name, value in values.items() if value is not None}
        epochs = values.pop("epochs", None)
        if epochs is not None:
            values["problem"] = replace(plan.problem, epochs=epochs)
        share = values.pop("gpus_per_trial", None)
        if share is not None:
            others = {name: n for name, n in plan.other_resources.items() if name != GPU}
            values["other_resources"] = others | gpu_resources(share)
            values["device_rule"] = plan.device_rule if share else None
        if self.address is None or share == 0:
            values["gpus"] = None  # no autoscaler brings any
        if self.workers is None and self.address is None and plan.address is not None:
            # Not so many as that cluster had.
            values["workers"] = local_workers(plan.cpus_per_trial)
        # A number that was asked for on a cluster stands on another.
        elastic = self.address is not None and (plan.elastic or plan.address is None)
        elastic &= self.workers is None
        return replace(plan, **values | {"address": self.address, "elastic": elastic})


def changes_between(previous: Plan, plan: Plan) -> Changes:
    """Return what a plan changes of the run that stands in its folder.

    Raises:
        UsageError: It asks for another search; names everything that differs.
    """
    changes = Changes(
        trials=plan.trials,
        epochs=plan.problem.epochs,
        workers=None if plan.elastic else plan.workers,
        time_budget_seconds=plan.time_budget_seconds,
        target=plan.target,
        retrain_epochs=plan.retrain_epochs,
        log=plan.log,
        gpus=plan.gpus,
        confirm=plan.confirm,
        seeds=plan.seeds,
        audit=plan.audit,
        address=plan.address,
    )
    before, now = _identity(changes.applied(previous)), _identity(plan)
    differing = [
        f"{name.replace('_', ' ')} {before[name]!r}, now {now[name]!r}"
        for name in now
        if before[name] != now[name]
    ]
    if differing:
        raise UsageError(
            f"--out {str(plan.out)!r} holds a run that was asked otherwise "
            f"({'; '.join(differing)}): nothing is begun. Name another folder, or go on with that "
            f"one by `fmnist-search resume {plan.out}`."
        )
    return changes


def _identity(plan: Plan) -> dict[str, Any]:
    """Return what makes a search the one that it is, wherever and with how many workers it runs."""
    problem = {field.name: getattr(plan.problem, field.name) for field in fields(plan.problem)}
    whole = {field.name: getattr(plan, field.name) for field in fields(plan)} | problem
    elsewhere = ("problem", "out", "workers", "elastic", "address", "gpus")
    return {name: value for name, value in whole.items() if name not in elsewhere}
