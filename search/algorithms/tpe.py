"""The tree-structured Parzen estimator, by Optuna, and what it looks at of a long search.

TPE's cost grows with every trial that it looks at, some 0.05 ms each; a search on hundreds of
workers would wait for it from a few thousand trials on. So it looks at the best and the newest.
"""

import math
from collections.abc import Container, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from results.record.columns import Decision, State, Values
from results.record.history import Objective
from results.record.journal import Event
from search.algorithms.drawing import DrawingSearcher, Position, fill
from search.plan.plan import Plan
from search.space.parameters import Parameter, Space

# TPE's good group holds 25 trials at most (``default_gamma``, Optuna 5.0): they are among these.
BEST = 50
NEWEST = 200
# What has been learnt may grow to twice of what is kept before it is thinned again.
MOST = 2 * (BEST + NEWEST)
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class TPESearcher(DrawingSearcher):
    """Tree-structured Parzen estimator, by Optuna's ask and tell.

    The study gets every epoch and every ending: a trial that was stopped is pruned, one that ended
    by itself is complete, and trials that run count as poor (constant liar), so that workers do not
    all try the same.

    Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011;
    ``optuna.samplers.TPESampler``, Optuna 5.0.
    """

    # Optuna's default, said because much hangs on it. What else was tried: docs/settings.md.
    sampler_settings: ClassVar[dict[str, Any]] = {"constant_liar": True}

    def __init__(
        self, space: Space, *, seed: int, objective: Objective, defaults_first: bool = True
    ) -> None:
        super().__init__(space, seed=seed, defaults_first=defaults_first)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        direction = "maximize" if objective.mode == "max" else "minimize"
        self._objective = objective
        self._study = optuna.create_study(
            direction=direction, storage=ThinnedStorage(objective.mode)
        )
        self._running: dict[int, Trial] = {}
        self._reported: dict[int, dict[int, float]] = {}

    @classmethod
    def from_plan(cls, plan: Plan, space: Space) -> Self:
        """Make the searcher with the seed and the objective of a plan."""
        problem, first = plan.problem, plan.defaults_first
        return cls(space, seed=problem.seed, objective=problem.objective, defaults_first=first)

    def adopt(self, trial: int, values: Values) -> None:
        """Enter it into the study, as if it had been drawn just now."""
        super().adopt(trial, values)
        self._study.enqueue_trial(_positions(self.space, values))
        adopted = self._running[trial] = self._study.ask()
        for parameter in self.space:
            if parameter.is_active(values) and parameter.name in values:
                _suggest(adopted, parameter)

    def observe(self, event: Event) -> None:
        """Report an epoch, or tell how a trial ended."""
        super().observe(event)
        if event.get("trial") not in self._running:
            return
        value = event.get("metrics", {}).get(self._objective.name)
        if event["event"] == "epoch" and value is not None and not event.get("execution"):
            self._report(event["trial"], event["epoch"], value)
            if event["decision"] == Decision.STOP:
                self._end(event["trial"], State.STOPPED, None)
        elif event["event"] == "trial_ended":
            self._end(event["trial"], State(event["state"]), event.get("score"))

    def learn(self, values: Values, score: float) -> None:
        """Tell the study of a finished trial."""
        super().learn(values, score)
        active = [parameter for parameter in self.space if parameter.is_active(values)]
        self._study.add_trial(
            optuna.trial.create_trial(
                params={p.key: _as_drawn(p, p.position_of(values[p.name])) for p in active},
                distributions={p.key: _distribution(p) for p in active},
                value=score,
            )
        )

    def _defaults(self, trial: int) -> Values:
        # Known to the study from its first ask on, so that it learns from this trial too.
        self._study.enqueue_trial(_positions(self.space, self.space.defaults()))
        self._draw(trial, 0)
        return self.space.defaults()

    def _draw(self, trial: int, collision: int) -> Values:
        # Sampler state follows from (seed, trial), not from how many asks came before.
        seed = int(np.random.SeedSequence([self.seed, trial, collision]).generate_state(1)[0])
        self._study.sampler = optuna.samplers.TPESampler(seed=seed, **self.sampler_settings)
        drawn = self._running[trial] = self._study.ask()
        return fill(self.space, lambda parameter: _suggest(drawn, parameter))

    def _discard(self, trial: int) -> None:
        self._study.tell(self._running.pop(trial), state=TrialState.FAIL)

    def _report(self, trial: int, epoch: int, value: float) -> None:
        reported = self._reported.setdefault(trial, {})
        if epoch not in reported:  # a trial repeated after its process died reports anew
            self._running[trial].report(value, step=epoch)
        reported[epoch] = value

    def _end(self, trial: int, state: State, score: float | None) -> None:
        ended = self._running.pop(trial)
        reported = list(self._reported.pop(trial, {}).values())
        if score is None and reported:
            score = max(reported) if self._objective.mode == "max" else min(reported)
        if state in (State.COMPLETED, State.EARLY_STOPPED) and score is not None:
            self._study.tell(ended, score)
        elif state in (State.STOPPED, State.INTERRUPTED) and reported:
            self._study.tell(ended, state=TrialState.PRUNED)
        else:
            self._study.tell(ended, state=TrialState.FAIL)


class ThinnedStorage(InMemoryStorage):
    """Keeps the trials of one study, and shows no more than ``MOST`` that have ended.

    Trials that run, wait or failed are shown as they are: their number is the search's own. What
    is shown follows from the order in which trials ended alone, so that a journal played back
    leaves what the search left.

    Args:
        mode: ``max`` or ``min``: which objective is best.
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._sign = -1.0 if mode == "max" else 1.0
        self._ended: list[int] = []
        self._forgotten: set[int] = set()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Take in a trial, which may have ended in an earlier search."""
        trial_id: int = super().create_new_trial(study_id, template_trial)
        if template_trial is not None:
            self._note(trial_id, template_trial.state)
        return trial_id

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Take in how a trial ended."""
        is_set: bool = super().set_trial_state_values(trial_id, state, values)
        self._note(trial_id, state)
        return is_set

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials that TPE shall look at, in the order of their numbers."""
        trials = super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        return [trial for trial in trials if trial._trial_id not in self._forgotten]

    def _note(self, trial_id: int, state: TrialState) -> None:
        if state not in ENDED:
            return
        self._ended.append(trial_id)
        if len(self._ended) > MOST:
            kept = {*self._ended[-NEWEST:], *sorted(self._ended, key=self._rank)[:BEST]}
            self._forgotten |= set(self._ended) - kept
            self._ended = [one for one in self._ended if one in kept]

    def _rank(self, trial_id: int) -> tuple[Any, ...]:
        """Order as TPE does: what ended by itself, by value; then stopped ones, the later first.

        Source: ``_split_trials`` of ``optuna.samplers._tpe.sampler``, Optuna 5.0.
        """
        trial = self.get_trial(trial_id)
        if trial.state == TrialState.COMPLETE:
            return 0, 0, self._sign * float(trial.value or 0.0)
        epoch, value = max(trial.intermediate_values.items())
        return 1, -epoch, self._sign * value


def _suggest(trial: Trial, parameter: Parameter) -> Position:
    size = parameter.size
    if size is None:
        # Optuna includes the upper bound, keras-tuner does not.
        return float(trial.suggest_float(parameter.key, 0.0, math.nextafter(1.0, 0.0)))
    if parameter.ordered:
        return float(trial.suggest_int(parameter.key, 0, size - 1))
    return float(trial.suggest_categorical(parameter.key, range(size)))


def _distribution(parameter: Parameter) -> BaseDistribution:
    size = parameter.size
    if size is None:
        return optuna.distributions.FloatDistribution(0.0, math.nextafter(1.0, 0.0))
    if parameter.ordered:
        return optuna.distributions.IntDistribution(0, size - 1)
    return optuna.distributions.CategoricalDistribution(range(size))


def _as_drawn(parameter: Parameter, position: Position) -> Position:
    return position if parameter.size is None else int(position)


def _positions(space: Space, values: Values) -> dict[str, Position]:
    return {
        parameter.key: parameter.position_of(values[parameter.name])
        for parameter in space
        if parameter.is_active(values) and parameter.name in values
    }
