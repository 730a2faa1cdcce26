"""What a user changes in a run that goes on."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from search.errors import UsageError
from search.plan.options import rows
from search.plan.plan import GPU, OPTIONS, Plan, Problem, gpu_resources, local_workers

# Names of the options that ``resume`` takes.
CHANGEABLE = tuple(name for name, row in OPTIONS.items() if row.in_resume)


@dataclass(frozen=True)
class Changes:
    """What changes in a run that goes on.

    Attributes:
        values: New values of options that ``resume`` takes, by name. Others stay as they were,
            except ``address``: without it, the run goes on on this machine.
    """

    values: Mapping[str, Any] = field(default_factory=dict)

    def applied(self, plan: Plan) -> Plan:
        """Return a plan with the changes made."""
        values = dict(self.values)
        address = values.pop("address", None)
        share = values.pop("gpus_per_trial", None)
        of_problem = {row.name: values.pop(row.name) for row in rows(Problem) if row.name in values}
        if share is not None:
            others = {name: n for name, n in plan.other_resources.items() if name != GPU}
            values["other_resources"] = others | gpu_resources(share)
            values["device_rule"] = plan.device_rule if share else None
        if address is None or share == 0:
            values["gpus"] = None  # no autoscaler brings any
        has_workers = "workers" in values
        if not has_workers and address is None and plan.address is not None:
            # Not as many as that cluster had.
            values["workers"] = local_workers(plan.cpus_per_trial)
        # A number that was given on a cluster stays on another.
        elastic = address is not None and (plan.elastic or plan.address is None)
        values |= {"address": address, "elastic": elastic and not has_workers}
        return replace(plan, **values, problem=replace(plan.problem, **of_problem))


def changes_between(previous: Plan, plan: Plan) -> Changes:
    """Return what a plan changes of the run that stands in its folder.

    Raises:
        UsageError: It is the plan of another search; names everything that differs.
    """
    changeable = {
        row.name: getattr(table, row.name)
        for table in (plan, plan.problem)
        for row in rows(type(table))
        if row.in_resume and not (row.name == "workers" and plan.elastic)
    }
    changes = Changes({name: value for name, value in changeable.items() if value is not None})
    before, now = _identity(changes.applied(previous)), _identity(plan)
    differing = [
        f"{name.replace('_', ' ')} {before[name]!r}, now {now[name]!r}"
        for name in now
        if before[name] != now[name]
    ]
    if differing:
        raise UsageError(
            f"--out {str(plan.out)!r} holds another search ({'; '.join(differing)}): nothing is "
            "started. Name another folder, or resume that search by `fmnist-search resume "
            f"{plan.out}`."
        )
    return changes


def _identity(plan: Plan) -> dict[str, Any]:
    """Return what makes a search what it is, wherever and with however many workers it runs."""
    problem = {field.name: getattr(plan.problem, field.name) for field in fields(plan.problem)}
    values = {field.name: getattr(plan, field.name) for field in fields(plan)} | problem
    elsewhere = ("problem", "out", "workers", "elastic", "address", "gpus")
    return {name: value for name, value in values.items() if name not in elsewhere}
