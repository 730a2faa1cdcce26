"""The tree-structured Parzen estimator, by Optuna."""

import math
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from results.record.columns import Decision, State
from results.record.history import Objective
from results.record.journal import Event
from results.record.values import Values
from search.algorithms.drawing import DrawingSearcher, Position, fill
from search.plan.plan import Plan
from search.space.parameters import Parameter, Space

if TYPE_CHECKING:
    import optuna


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
        import optuna

        from search.algorithms.study_memory import ThinnedStorage

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        direction = "maximize" if objective.mode == "max" else "minimize"
        self._optuna = optuna
        self._objective = objective
        self._study = optuna.create_study(
            direction=direction, storage=ThinnedStorage(objective.mode)
        )
        self._running: dict[int, optuna.trial.Trial] = {}
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
            self._optuna.trial.create_trial(
                params={p.key: _as_drawn(p, p.position_of(values[p.name])) for p in active},
                distributions={p.key: self._distribution(p) for p in active},
                value=score,
            )
        )

    def _distribution(self, parameter: Parameter) -> "optuna.distributions.BaseDistribution":
        distributions, size = self._optuna.distributions, parameter.size
        if size is None:
            return distributions.FloatDistribution(0.0, math.nextafter(1.0, 0.0))
        if parameter.ordered:
            return distributions.IntDistribution(0, size - 1)
        return distributions.CategoricalDistribution(range(size))

    def _defaults(self, trial: int) -> Values:
        # Known to the study from its first ask on, so that it learns from this trial too.
        self._study.enqueue_trial(_positions(self.space, self.space.defaults()))
        self._draw(trial, 0)
        return self.space.defaults()

    def _draw(self, trial: int, collision: int) -> Values:
        # Sampler state follows from (seed, trial), not from how many asks came before.
        seed = int(np.random.SeedSequence([self.seed, trial, collision]).generate_state(1)[0])
        self._study.sampler = self._optuna.samplers.TPESampler(seed=seed, **self.sampler_settings)
        drawn = self._running[trial] = self._study.ask()
        return fill(self.space, lambda parameter: _suggest(drawn, parameter))

    def _discard(self, trial: int) -> None:
        self._study.tell(self._running.pop(trial), state=self._optuna.trial.TrialState.FAIL)

    def _report(self, trial: int, epoch: int, value: float) -> None:
        reported = self._reported.setdefault(trial, {})
        if epoch not in reported:  # a trial repeated after its process died reports anew
            self._running[trial].report(value, step=epoch)
        reported[epoch] = value

    def _end(self, trial: int, state: State, score: float | None) -> None:
        states = self._optuna.trial.TrialState
        ended = self._running.pop(trial)
        reported = list(self._reported.pop(trial, {}).values())
        if score is None and reported:
            score = max(reported) if self._objective.mode == "max" else min(reported)
        if state in (State.COMPLETED, State.EARLY_STOPPED) and score is not None:
            self._study.tell(ended, score)
        elif state in (State.STOPPED, State.INTERRUPTED) and reported:
            self._study.tell(ended, state=states.PRUNED)
        else:
            self._study.tell(ended, state=states.FAIL)


def _suggest(trial: "optuna.trial.Trial", parameter: Parameter) -> Position:
    size = parameter.size
    if size is None:
        # Optuna includes the upper bound, keras-tuner does not.
        return float(trial.suggest_float(parameter.key, 0.0, math.nextafter(1.0, 0.0)))
    if parameter.ordered:
        return float(trial.suggest_int(parameter.key, 0, size - 1))
    return float(trial.suggest_categorical(parameter.key, range(size)))


def _as_drawn(parameter: Parameter, position: Position) -> Position:
    return position if parameter.size is None else int(position)


def _positions(space: Space, values: Values) -> dict[str, Position]:
    return {
        parameter.key: parameter.position_of(values[parameter.name])
        for parameter in space
        if parameter.is_active(values) and parameter.name in values
    }
