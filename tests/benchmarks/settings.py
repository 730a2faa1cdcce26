"""Which settings of ASHA and TPE find more in the same time: searches replayed on recorded trials.

Run by ``make settings``. ``curves.jsonl`` holds configurations of the ``wide`` space that were
trained to the end on five splits that the race does not use (``record.py``): 59 drawn at random, a
dozen on each, and candidates for the first configuration on all five. Simulated searches with our own scheduler and
searchers ask a model of them (a Gaussian process) what an epoch of a configuration gives and takes.
Asserts nothing: it prints the tables of docs/performance.md.
"""

import argparse
import heapq
import json
import math
import statistics
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import GroupKFold, cross_val_predict

from results.columns import Decision, State
from search.engines.asha import Asha, NoStopping
from search.history import Objective
from search.searchers import DrawingSearcher, RandomSearcher, TPESearcher
from search.space import Parameter, Space, Values, fingerprint

BENCHMARKS = Path(__file__).resolve().parent
OBJECTIVE = Objective("val_accuracy", "max")
# Of the trials that searches are simulated with.
EPOCHS = 10
# Between two trials of a slot, as measured: what was left is cleared, a model is built and traced.
BETWEEN_SECONDS = 0.7
TARGETS = (0.9007, 0.9055)
# Of search, which begins about 15 s after the process.
MARKS_SECONDS = (45, 165, 285)


@dataclass(frozen=True)
class Recorded:
    """A configuration that was trained to its end.

    Attributes:
        seed: Of the split.
        values: The configuration.
        accuracies: Validation accuracy after each epoch.
        epoch_seconds: Median of an epoch.
        epochs: What it was given, and where its schedule ended.
    """

    seed: int
    values: Values
    accuracies: tuple[float, ...]
    epoch_seconds: float
    epochs: int

    @property
    def name(self) -> str:
        """What trials of one configuration on several splits share."""
        return f"{fingerprint(self.values)} {self.epochs}"

    def epochs_to(self, target: float) -> float:
        """Return after how many epochs the target was reached; infinity if never."""
        reached = (at for at, value in enumerate(self.accuracies, start=1) if value >= target)
        return next(reached, math.inf)


def recorded() -> list[Recorded]:
    """Read the recorded trials."""
    found = []
    for line in (BENCHMARKS / "curves.jsonl").read_text().splitlines():
        trial = json.loads(line)
        epochs = trial["epochs"]
        accuracies = [epoch["metrics"]["val_accuracy"] or 0.0 for epoch in epochs]
        # One that was stopped for its patience stays what it was.
        accuracies += accuracies[-1:] * (trial["of_epochs"] - len(accuracies))
        seconds = statistics.median(epoch["epoch_seconds"] for epoch in epochs)
        found.append(
            Recorded(trial["seed"], trial["values"], tuple(accuracies), seconds, trial["of_epochs"])
        )
    return found


class Surrogate:
    """Foretells what a configuration gives and takes.

    Args:
        space: Says where a value lies.
        trials: What it learns from.
    """

    def __init__(self, space: Space, trials: Sequence[Recorded]) -> None:
        self._space = space
        self._trials = trials
        level = _levels(trials)
        self._inputs = np.array([self._position(one.values) for one in trials])
        # The last 1 % of accuracy is what is searched for: a logarithm gives it its weight.
        self._outputs = np.array(
            [
                [level[one.seed] - math.log(1.0 - a) for a in one.accuracies]
                + [math.log(one.epoch_seconds)]
                for one in trials
            ]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # an axis that does not matter
            self._model = self._new().fit(self._inputs, self._outputs)

    def __call__(self, values: Values) -> tuple[list[float], float]:
        """Return the accuracies of all epochs and the seconds of one."""
        *logs, seconds = self._model.predict([self._position(values)])[0]
        return [1.0 - math.exp(-log) for log in logs], math.exp(seconds)

    def rank_correlation(self) -> float:
        """Return Spearman's correlation of foretold and found, in ten-fold cross-validation."""
        from scipy.stats import spearmanr

        # The splits of a configuration stay together.
        names = [one.name for one in self._trials]
        model = self._new().set_params(kernel=self._model.kernel_, optimizer=None)
        foretold = cross_val_predict(
            model, self._inputs, self._outputs, groups=names, cv=GroupKFold(10)
        )
        return float(spearmanr(foretold[:, EPOCHS - 1], self._outputs[:, EPOCHS - 1]).statistic)

    def _new(self) -> GaussianProcessRegressor:
        axes = [1.0] * len(self._space.parameters)
        kernel = ConstantKernel() * Matern(axes, nu=2.5, length_scale_bounds=(0.2, 20))
        return GaussianProcessRegressor(
            kernel + WhiteKernel(0.1), normalize_y=True, n_restarts_optimizer=2, random_state=0
        )

    def _position(self, values: Values) -> list[float]:
        return [
            _share(parameter, values[parameter.name]) if parameter.name in values else 0.5
            for parameter in self._space
        ]


def _share(parameter: Parameter, value: Any) -> float:
    """Return where a value lies on its axis, in 0..1."""
    position = float(parameter.position_of(value))
    return position if parameter.size is None else position / (parameter.size - 1)


def _levels(trials: Sequence[Recorded]) -> dict[int, float]:
    """Return how much harder than the mean each split is, by what was trained on all of them."""
    gains: dict[str, dict[int, float]] = {}
    for one in trials:
        gains.setdefault(one.name, {})[one.seed] = -math.log(1 - one.accuracies[-1])
    splits = {one.seed for one in trials}
    common = [gain for gain in gains.values() if set(gain) == splits]
    means = {seed: statistics.mean(gain[seed] for gain in common) for seed in splits}
    return {seed: statistics.mean(means.values()) - mean for seed, mean in means.items()}


def simulate(
    scheduler: NoStopping,
    searcher: DrawingSearcher,
    surrogate: Callable[..., Any],
    slots: int,
) -> list[tuple[float, float]]:
    """Search for as long as the last mark; return when the best rose, and to what."""
    numbers = iter(range(10_000))
    best: list[tuple[float, float]] = []
    ends: list[tuple[float, int, int, int, list[float], float]] = []

    def begin(now: float, slot: int) -> None:
        trial = next(numbers)
        values = searcher.propose(trial)
        accuracies, seconds = surrogate(values)
        heapq.heappush(ends, (now + seconds, slot, trial, 1, accuracies, seconds))

    for slot in range(slots):
        begin(0.0, slot)
    while ends[0][0] <= MARKS_SECONDS[-1]:
        now, slot, trial, epoch, accuracies, seconds = heapq.heappop(ends)
        value = accuracies[epoch - 1]
        if not best or value > best[-1][1]:
            best.append((now, value))
        decision = scheduler.judge(trial, epoch, value, last_epoch=EPOCHS)
        told = {"event": "epoch", "trial": trial, "epoch": epoch, "decision": decision}
        searcher.observe(told | {"metrics": {OBJECTIVE.name: value}})
        if decision is Decision.CONTINUE and epoch < EPOCHS:
            heapq.heappush(ends, (now + seconds, slot, trial, epoch + 1, accuracies, seconds))
            continue
        if decision is Decision.CONTINUE:
            score = max(accuracies)
            ended = {"event": "trial_ended", "trial": trial, "state": State.COMPLETED}
            searcher.observe(ended | {"score": score})
        begin(now + BETWEEN_SECONDS, slot)
    return best


def _asha(grace_period: int, reduction_factor: float) -> Asha:
    return Asha(
        mode="max", max_epochs=EPOCHS, grace_period=grace_period, reduction_factor=reduction_factor
    )


def _named_asha(grace_period: int, reduction_factor: int) -> str:
    return f"ASHA, grace period {grace_period}, factor {reduction_factor}"


class StopsAreEnds(TPESearcher):
    """Is told of a stopped trial as Ray Tune 2.60 tells Optuna: complete, with its early value."""

    def _tell(self, trial: int, state: State, score: float | None) -> None:
        super()._tell(trial, State.COMPLETED if state is State.STOPPED else state, score)


class BlindToRunning(TPESearcher):
    """Does not know which configurations are being tried."""

    sampler_settings = TPESearcher.sampler_settings | {"constant_liar": False}


class Grouped(TPESearcher):
    """Draws together also what is active in some trials only, such as a rate of its optimizer."""

    sampler_settings = TPESearcher.sampler_settings | {"multivariate": True, "group": True}


class EachForItself(TPESearcher):
    """Takes parameters for independent of each other."""

    sampler_settings = TPESearcher.sampler_settings | {"multivariate": False}


class SoonerTPE(TPESearcher):
    """Draws at random five times, rather than ten, before it uses what it has seen."""

    sampler_settings = TPESearcher.sampler_settings | {"n_startup_trials": 5}


class LaterTPE(TPESearcher):
    """Draws at random twenty times before it uses what it has seen."""

    sampler_settings = TPESearcher.sampler_settings | {"n_startup_trials": 20}


SEARCHERS: dict[str, type[TPESearcher]] = {
    "TPE": TPESearcher,
    "TPE, a stop told as an end": StopsAreEnds,
    "TPE, blind to running trials": BlindToRunning,
    "TPE, grouped": Grouped,
    "TPE, each parameter for itself": EachForItself,
    "TPE, 5 drawn at first": SoonerTPE,
    "TPE, 20 drawn at first": LaterTPE,
}


def schedulers() -> Iterator[tuple[str, Callable[[], NoStopping]]]:
    """Return what stops trials early, by name."""
    yield "none", NoStopping
    for grace in (1, 2, 3):
        for factor in (2, 3, 4):
            yield _named_asha(grace, factor), lambda g=grace, f=factor: _asha(g, f)


def first_configurations(trials: Sequence[Recorded]) -> str:
    """Return the table of the configurations that were trained on every split."""
    found: dict[str, list[Recorded]] = {}
    for one in trials:
        found.setdefault(one.name, []).append(one)
    splits = {one.seed for one in trials}
    common = [group for group in found.values() if {one.seed for one in group} == splits]
    best = {id(group): statistics.mean(max(one.accuracies) for one in group) for group in common}
    heads = ["configuration", "epochs", "mean of the best", "by split", "s an epoch"]
    heads += [f"epochs to {target}" for target in TARGETS]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for group in sorted(common, key=lambda group: best[id(group)], reverse=True):
        by_split = sorted(group, key=lambda one: one.seed)
        tops = " ".join(f"{max(one.accuracies):.4f}" for one in by_split)
        seconds = statistics.median(one.epoch_seconds for one in group)
        cells = [_named(group[0].values), str(group[0].epochs), f"{best[id(group)]:.4f}", tops]
        cells += [f"{seconds:.2f}", *(_to(by_split, target) for target in TARGETS)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _to(by_split: Sequence[Recorded], target: float) -> str:
    found = [one.epochs_to(target) for one in by_split]
    return " ".join("-" if math.isinf(epochs) else str(epochs) for epochs in found)


def _named(values: Values) -> str:
    rate = values.get("learning_rate", values.get("sgd_learning_rate"))
    return (
        f"{values['hidden_layers']} x {values['neurons']}, {values['optimizer']} {rate:g}, "
        f"batch {values['batch_size']}, dropout {values['dropout']:g}"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="simulated searches of each kind")
    parser.add_argument("--slots", type=int, default=2, help="trials at once")
    parser.add_argument("--first", action=argparse.BooleanOptionalAction, default=True)
    asked = parser.parse_args()
    space = Space.from_json(json.loads((BENCHMARKS / "space.json").read_text()))
    trials = recorded()
    print(first_configurations(trials), end="\n\n")
    surrogate = Surrogate(space, [one for one in trials if one.epochs == EPOCHS])
    print(f"rank correlation of the model, cross-validated: {surrogate.rank_correlation():.2f}\n")

    def searched(new: Callable[..., DrawingSearcher], scheduler: Callable[[], NoStopping]) -> str:
        found = [
            simulate(
                scheduler(),
                new(space, seed=seed, defaults_first=asked.first),
                surrogate,
                asked.slots,
            )
            for seed in range(asked.seeds)
        ]
        return " | ".join(_mark(found, seconds) for seconds in MARKS_SECONDS)

    marks = " | ".join(f"best at {seconds} s" for seconds in MARKS_SECONDS)
    print(f"| searcher | early stopping | {marks} |\n|{' --- |' * (2 + len(MARKS_SECONDS))}")
    for name, scheduler in schedulers():
        print(f"| random | {name} | {searched(RandomSearcher, scheduler)} |", flush=True)
    tpe = lambda kind: lambda *a, **k: kind(*a, objective=OBJECTIVE, **k)  # noqa: E731
    for name, kind in SEARCHERS.items():
        row = searched(tpe(kind), lambda: _asha(1, 3))
        print(f"| {name} | {_named_asha(1, 3)} | {row} |", flush=True)


def _mark(found: list[list[tuple[float, float]]], seconds: float) -> str:
    best = [max((value for at, value in one if at <= seconds), default=0.0) for one in found]
    error = statistics.stdev(best) / math.sqrt(len(best))
    return f"{statistics.mean(best):.4f} ± {error:.4f}"


if __name__ == "__main__":
    main()
