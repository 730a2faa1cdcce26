"""Who chooses the next configuration: random search, or TPE.

A searcher draws positions on the axes of the mirrored space; it reads the events of the search
and nothing else, so a journal played back to it teaches it what the search taught it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from results.record.columns import Decision, State
from results.record.history import Objective
from results.record.journal import Event
from results.record.values import Values
from search.space.parameters import Parameter, Space, fingerprint

if TYPE_CHECKING:
    import optuna

# As keras-tuner 1.4.8: after so many draws of known configurations the space counts as exhausted.
MAX_COLLISIONS = 20
Position = float


class Pause(Enum):
    """What a searcher answers when it has no configuration to give."""

    WAIT = "ask again when a trial has ended"


class Searcher(ABC):
    """Chooses configurations.

    Args:
        space: The space as discovered; it may grow while trials report new parameters.
    """

    def __init__(self, space: Space) -> None:
        self.space = space

    @abstractmethod
    def propose(self, trial: int) -> Values | Pause | None:
        """Return the configuration of a trial, or None when there is no other to try."""

    @abstractmethod
    def adopt(self, trial: int, values: Values) -> None:
        """Take in a configuration that was proposed before the search was cut off."""

    def observe(self, event: Event) -> None:
        """Learn from an event of the search; random search has nothing to learn from most."""
        if event["event"] == "earlier_trial":
            self.learn(event["values"], event["score"])

    def grow(self, news: Space) -> None:
        """Take in parameters that a trial was the first to register."""
        self.space = self.space.extended(news)

    @abstractmethod
    def learn(self, values: Values, score: float) -> None:
        """Learn from a finished trial of an earlier search.

        Args:
            values: A value for each parameter that is active, as the space allows it.
            score: The objective.
        """


class DrawingSearcher(Searcher):
    """Draws positions on the axes of the space.

    Args:
        space: The space to draw from.
        seed: Seed of the run. What trial n draws follows from (seed, n) and from the
            configurations and events before it.
        defaults_first: Whether trial 0 gets the defaults of the space.
    """

    def __init__(self, space: Space, *, seed: int, defaults_first: bool = True) -> None:
        super().__init__(space)
        self.seed = seed
        self._defaults_first = defaults_first
        self._tried: set[str] = set()

    def propose(self, trial: int) -> Values | None:
        """Return the configuration of a trial, or None when every one has been tried.

        The defaults are what the builder itself says is a good start: trial 0 gets them, tried
        before or not.
        """
        for collision in range(MAX_COLLISIONS + 1):
            is_first = self._defaults_first and trial == 0 and collision == 0
            values = self._defaults(trial) if is_first else self._draw(trial, collision)
            if is_first or fingerprint(values) not in self._tried:
                self._tried.add(fingerprint(values))
                return values
            self._discard(trial)
        return None

    def adopt(self, trial: int, values: Values) -> None:
        """Not propose it again."""
        self._tried.add(fingerprint(values))

    def learn(self, values: Values, score: float) -> None:
        """Not try again what an earlier search has tried."""
        self._tried.add(fingerprint(values))

    def _defaults(self, trial: int) -> Values:
        return self.space.defaults()

    @abstractmethod
    def _draw(self, trial: int, collision: int) -> Values:
        """Draw a configuration for a trial."""

    def _discard(self, trial: int) -> None:
        """Forget a draw that turned out to be known already."""
        return


class RandomSearcher(DrawingSearcher):
    """Draws with Ray Tune's own domains, each configuration from the space, seed and trial."""

    def _draw(self, trial: int, collision: int) -> Values:
        generator = np.random.default_rng([self.seed, trial, collision])
        return fill(self.space, lambda parameter: _sample(parameter, generator))


class TPESearcher(DrawingSearcher):
    """Tree-structured Parzen estimator, by Optuna's ask and tell.

    It is told every epoch, and the truth about stops: a trial stopped by ASHA is pruned, one
    that ended by itself is complete, and trials still running count as poor (constant liar) so
    that workers do not all try the same.

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
        self._asked: dict[int, optuna.trial.Trial] = {}
        self._reported: dict[int, dict[int, float]] = {}

    def adopt(self, trial: int, values: Values) -> None:
        """Enter it into the study, as if it had been drawn just now."""
        super().adopt(trial, values)
        self._study.enqueue_trial(_positions(self.space, values))
        asked = self._asked[trial] = self._study.ask()
        for parameter in self.space:
            if parameter.is_active(values) and parameter.name in values:
                _suggest(asked, parameter)

    def observe(self, event: Event) -> None:
        """Report an epoch, or tell how a trial ended."""
        super().observe(event)
        asked = self._asked.get(event.get("trial", -1))
        if asked is None:
            return
        value = event.get("metrics", {}).get(self._objective.name)
        if event["event"] == "epoch" and value is not None and not event.get("execution"):
            self._report(event["trial"], event["epoch"], value)
            if event["decision"] == Decision.STOP:
                self._tell(event["trial"], State.STOPPED, None)
        elif event["event"] == "trial_ended":
            self._tell(event["trial"], State(event["state"]), event.get("score"))

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
        asked = self._asked[trial] = self._study.ask()
        return fill(self.space, lambda parameter: _suggest(asked, parameter))

    def _discard(self, trial: int) -> None:
        self._study.tell(self._asked.pop(trial), state=self._optuna.trial.TrialState.FAIL)

    def _report(self, trial: int, epoch: int, value: float) -> None:
        reported = self._reported.setdefault(trial, {})
        if epoch not in reported:  # a trial repeated after its process died reports anew
            self._asked[trial].report(value, step=epoch)
        reported[epoch] = value

    def _tell(self, trial: int, state: State, score: float | None) -> None:
        states = self._optuna.trial.TrialState
        asked = self._asked.pop(trial)
        reported = list(self._reported.pop(trial, {}).values())
        if score is None and reported:
            score = max(reported) if self._objective.mode == "max" else min(reported)
        if state in (State.COMPLETED, State.EARLY_STOPPED) and score is not None:
            self._study.tell(asked, score)
        elif state in (State.STOPPED, State.INTERRUPTED) and reported:
            self._study.tell(asked, state=states.PRUNED)
        else:
            self._study.tell(asked, state=states.FAIL)


def fill(space: Space, choose: Callable[[Parameter], Position]) -> Values:
    """Choose a value for every active parameter, parents before children."""
    values: Values = {}
    for parameter in space:
        if parameter.is_active(values) and parameter.name not in values:
            values[parameter.name] = parameter.value_at(choose(parameter))
    return values


def _sample(parameter: Parameter, generator: np.random.Generator) -> Position:
    from ray import tune

    size = parameter.size
    domain = tune.uniform(0.0, 1.0) if size is None else tune.randint(0, size)
    return float(domain.sample(random_state=generator))


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
