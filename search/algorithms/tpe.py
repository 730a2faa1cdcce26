"""The tree-structured Parzen estimator (TPE) of Optuna, limited to the best and newest trials.

The time of a proposal grows by about 0.05 ms with each trial that TPE considers. Without a limit,
a search on hundreds of workers would wait for TPE after a few thousand trials.
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
from search.algorithms.drawing import DrawingSearcher, Position, choose_values
from search.plan.plan import Plan
from search.space.parameters import Parameter, Space

# TPE's good group holds at most 25 trials (``default_gamma``, Optuna 5.0), all among these.
KEPT_BEST = 50
KEPT_NEWEST = 200
# The shown trials may grow to twice the kept number before they are thinned again.
MAX_SHOWN = 2 * (KEPT_BEST + KEPT_NEWEST)
ENDED_STATES = (TrialState.COMPLETE, TrialState.PRUNED)


class TPESearcher(DrawingSearcher):
    """A searcher by the tree-structured Parzen estimator, over Optuna's ask-and-tell interface.

    The study learns every epoch and every ending. A trial that the scheduler stopped is pruned, one
    that ended by itself is complete. Running trials count as poor (constant liar), so that workers
    do not all try the same configuration.

    Attributes:
        study: The study of Optuna; it shows at most ``MAX_SHOWN`` complete or pruned trials.

    Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011;
    ``optuna.samplers.TPESampler``, Optuna 5.0.
    """

    # Optuna's default, fixed here because results depend on it; docs/settings.md compares others.
    sampler_settings: ClassVar[dict[str, Any]] = {"constant_liar": True}

    def __init__(
        self, space: Space, *, seed: int, objective: Objective, defaults_first: bool = True
    ) -> None:
        super().__init__(space, seed=seed, defaults_first=defaults_first)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        direction = "maximize" if objective.mode == "max" else "minimize"
        self._objective = objective
        self.study = optuna.create_study(
            direction=direction, storage=ThinnedStorage(objective.mode)
        )
        # By trial: Optuna's own trial, and the objective of each reported epoch.
        self._optuna_trials: dict[int, Trial] = {}
        self._reported: dict[int, dict[int, float]] = {}

    @classmethod
    def from_plan(cls, plan: Plan, space: Space) -> Self:
        """Return the searcher with the seed and the objective of a plan."""
        return cls(
            space,
            seed=plan.problem.seed,
            objective=plan.problem.objective,
            defaults_first=plan.defaults_first,
        )

    def adopt(self, trial: int, values: Values) -> None:
        """Add a configuration to the study, as if TPE had drawn it now."""
        super().adopt(trial, values)
        self.study.enqueue_trial(_positions(self.space, values))
        optuna_trial = self._optuna_trials[trial] = self.study.ask()
        for parameter in self.space:
            if parameter.is_active(values) and parameter.name in values:
                _suggest(optuna_trial, parameter)

    def observe(self, event: Event) -> None:
        """Report an epoch or the end of a trial to the study."""
        super().observe(event)
        if event.get("trial") not in self._optuna_trials:
            return
        value = event.get("metrics", {}).get(self._objective.name)
        if event["event"] == "epoch" and value is not None and not event.get("execution"):
            self._report(event["trial"], event["epoch"], value)
            if event["decision"] == Decision.STOP:
                self._end(event["trial"], State.STOPPED, event)
        elif event["event"] == "trial_ended":
            self._end(event["trial"], State(event["state"]), event)

    def learn(self, values: Values, score: float) -> None:
        """Add a finished trial of an earlier search to the study."""
        super().learn(values, score)
        active = [parameter for parameter in self.space if parameter.is_active(values)]
        self.study.add_trial(
            optuna.trial.create_trial(
                params={p.key: _optuna_value(p, p.position_of(values[p.name])) for p in active},
                distributions={p.key: _distribution(p) for p in active},
                value=score,
            )
        )

    def _defaults(self, trial: int) -> Values:
        # Draw them through the study, so that it learns from this trial too.
        self.study.enqueue_trial(_positions(self.space, self.space.defaults()))
        self._draw(trial, 0)
        return self.space.defaults()

    def _draw(self, trial: int, collision: int) -> Values:
        # The seed depends on the run and the trial, not on the number of earlier draws.
        seed = int(np.random.SeedSequence([self.seed, trial, collision]).generate_state(1)[0])
        self.study.sampler = optuna.samplers.TPESampler(seed=seed, **self.sampler_settings)
        optuna_trial = self._optuna_trials[trial] = self.study.ask()
        return choose_values(self.space, lambda parameter: _suggest(optuna_trial, parameter))

    def _discard(self, trial: int) -> None:
        self.study.tell(self._optuna_trials.pop(trial), state=TrialState.FAIL)

    def _report(self, trial: int, epoch: int, value: float) -> None:
        reported = self._reported.setdefault(trial, {})
        if epoch not in reported:  # a trial that lost its process may report an epoch again
            self._optuna_trials[trial].report(value, step=epoch)
        reported[epoch] = value

    def _end(self, trial: int, state: State, event: Event) -> None:
        optuna_trial = self._optuna_trials.pop(trial)
        values = self._reported.pop(trial, {}).values()
        score = event.get("score")
        if "score" not in event and values:
            score = max(values) if self._objective.mode == "max" else min(values)
        if state in (State.COMPLETED, State.EARLY_STOPPED) and score is not None:
            self.study.tell(optuna_trial, score)
        elif state in (State.STOPPED, State.INTERRUPTED) and values:
            self.study.tell(optuna_trial, state=TrialState.PRUNED)
        else:
            self.study.tell(optuna_trial, state=TrialState.FAIL)


class ThinnedStorage(InMemoryStorage):
    """A storage of one study that shows at most ``MAX_SHOWN`` complete or pruned trials.

    It shows all running, waiting and failed trials. The order in which trials end alone determines
    what is shown, so replaying a journal restores it.

    Args:
        mode: ``max`` or ``min``: the direction of the objective.
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._sign = -1.0 if mode == "max" else 1.0
        self._ended: list[int] = []
        self._hidden: set[int] = set()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Store a trial, which may have ended in an earlier search."""
        trial_id: int = super().create_new_trial(study_id, template_trial)
        if template_trial is not None:
            self._note_end(trial_id, template_trial.state)
        return trial_id

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Store how a trial ended."""
        is_set: bool = super().set_trial_state_values(trial_id, state, values)
        self._note_end(trial_id, state)
        return is_set

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials that TPE considers, in the order of their numbers."""
        trials = super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        return [trial for trial in trials if trial._trial_id not in self._hidden]

    def _note_end(self, trial_id: int, state: TrialState) -> None:
        if state not in ENDED_STATES:
            return
        self._ended.append(trial_id)
        if len(self._ended) > MAX_SHOWN:
            kept = {*self._ended[-KEPT_NEWEST:], *sorted(self._ended, key=self._rank)[:KEPT_BEST]}
            self._hidden |= set(self._ended) - kept
            self._ended = [ended_id for ended_id in self._ended if ended_id in kept]

    def _rank(self, trial_id: int) -> tuple[Any, ...]:
        """Return TPE's sort key: complete trials by value, then pruned ones, latest epoch first.

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


def _optuna_value(parameter: Parameter, position: Position) -> Position:
    return position if parameter.size is None else int(position)


def _positions(space: Space, values: Values) -> dict[str, Position]:
    return {
        parameter.key: parameter.position_of(values[parameter.name])
        for parameter in space
        if parameter.is_active(values) and parameter.name in values
    }
