"""The changes that a user makes to a run on resuming it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from search.errors import UsageError
from search.machine.machine import this_machine
from search.plan.options import rows
from search.plan.plan import GPU, OPTIONS, Plan, Problem, gpu_resources

# The names of the options of ``resume``.
CHANGEABLE = tuple(name for name, row in OPTIONS.items() if row.in_resume)


@dataclass(frozen=True)
class Changes:
    """Changes to a run that is resumed.

    Attributes:
        values: New values of options of ``resume``, by name. Other options keep their values,
            except ``address``: without it, the run continues on this machine.
    """

    values: Mapping[str, Any] = field(default_factory=dict)

    def applied(self, plan: Plan) -> Plan:
        """Return a plan with the changes applied."""
        values = dict(self.values)
        address = values.pop("address", None)
        share = values.pop("gpus_per_trial", None)
        problem_values = {
            row.name: values.pop(row.name) for row in rows(Problem) if row.name in values
        }
        if share is not None:
            without_gpus = {name: n for name, n in plan.other_resources.items() if name != GPU}
            values["other_resources"] = without_gpus | gpu_resources(share)
            values["device_rule"] = plan.device_rule if share else None
        if address is None or share == 0:
            values["gpus"] = None  # no autoscaler adds GPUs
        values.setdefault("wait", False)
        has_workers = "workers" in values
        is_asked = values.setdefault("workers_asked", has_workers or plan.workers_asked)
        if not has_workers and address is None and not (is_asked and plan.address is None):
            # The old number is the capacity of a cluster, or of another machine.
            values["workers"] = this_machine().workers(plan.cpus_per_trial)
        # A number of workers that the user once gave for a cluster applies to other clusters too.
        elastic = address is not None and (plan.elastic or plan.address is None)
        values |= {"address": address, "elastic": elastic and not has_workers}
        return replace(plan, **values, problem=replace(plan.problem, **problem_values))


def changes_between(previous: Plan, plan: Plan) -> Changes:
    """Return the changes that lead from the plan of a previous run to a new plan.

    Raises:
        UsageError: The plans describe different searches; the message lists the differences.
    """
    is_free = plan.elastic or not plan.workers_asked
    new_values = {
        row.name: getattr(table, row.name)
        for table in (plan, plan.problem)
        for row in rows(type(table))
        if row.in_resume and not (row.name == "workers" and is_free)
    } | {"workers_asked": plan.workers_asked}
    changes = Changes({name: value for name, value in new_values.items() if value is not None})
    old, new = _identity(changes.applied(previous)), _identity(plan)
    differing = [
        f"{name.replace('_', ' ')} {old[name]!r}, now {new[name]!r}"
        for name in new
        if old[name] != new[name]
    ]
    if differing:
        raise UsageError(
            f"--out {str(plan.out)!r} holds a different search ({'; '.join(differing)}). Name "
            f"another folder, or continue that search with `fmnist-search resume {plan.out}`."
        )
    return changes


def _identity(plan: Plan) -> dict[str, Any]:
    """Return the values that define a search, without those that say where or why it runs so."""
    problem = {field.name: getattr(plan.problem, field.name) for field in fields(plan.problem)}
    values = {field.name: getattr(plan, field.name) for field in fields(plan)} | problem
    excluded = (
        "problem",
        "out",
        "workers",
        "workers_asked",
        "wait",
        "elastic",
        "address",
        "gpus",
        "scheduler_asked",
    )
    return {name: value for name, value in values.items() if name not in excluded}
