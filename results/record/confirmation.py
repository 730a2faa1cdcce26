"""Content of ``confirm/confirmation.json``: the best configurations, retrained on new seeds."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from results.record.intervals import Estimate
from results.record.json_record import JsonRecord

Mode = Literal["max", "min"]


class Verdict(StrEnum):
    """How a candidate compares with the winner."""

    WINNER = "winner"
    BETTER = "better"
    TIE = "tie"
    WORSE = "worse"


@dataclass(frozen=True)
class AccuracyOnTest:
    """Test accuracy in 0..1. Each seed's model was evaluated once on the test set.

    Attributes:
        accuracies: Accuracy of each seed's model.
        mean: Mean of the accuracies.
        low: Lower end of the mean's 95 % bootstrap interval, included.
        high: Upper end of that interval, included.
    """

    accuracies: tuple[float, ...]
    mean: float
    low: float
    high: float

    @property
    def estimate(self) -> Estimate:
        """Mean with its interval."""
        return Estimate(self.mean, self.low, self.high)


@dataclass(frozen=True)
class Candidate:
    """A configuration, trained for a fixed number of epochs.

    Attributes:
        name: Name of the configuration in tables.
        trial: Number of its trial; None for a configuration that the user added for comparison.
        epochs: Number of epochs.
        values: The hyperparameter values.
        search_value: Best objective of its trial in the search; None if it had none.
    """

    name: str
    trial: int | None
    epochs: int
    values: dict[str, Any]
    search_value: float | None


@dataclass(frozen=True)
class ConfirmedCandidate(Candidate):
    """A candidate with its results on the new seeds.

    Attributes:
        scores: Objective at the last epoch, by seed; None if that training diverged.
        mean: Mean of the scores; None if any training diverged.
        low: Lower end of the mean's 95 % bootstrap interval; None if there is no mean.
        high: Upper end of that interval; None if there is no mean.
        difference: Mean of its scores minus the winner's, paired by seed; None for the winner and
            for a candidate that diverged.
        verdict: How it compares with the winner.
        is_for_comparison: Whether the user added it for comparison; such a candidate never wins.
        test: Its test accuracy; None if it was not evaluated on the test set.
    """

    scores: tuple[float | None, ...]
    mean: float | None
    low: float | None
    high: float | None
    difference: Estimate | None
    verdict: Verdict
    is_for_comparison: bool
    test: AccuracyOnTest | None

    @property
    def estimate(self) -> Estimate | None:
        """Mean of its scores with the interval; None if any training diverged."""
        if self.mean is None or self.low is None or self.high is None:
            return None
        return Estimate(self.mean, self.low, self.high)


@dataclass(frozen=True)
class Confirmation(JsonRecord):
    """Results of the best configurations on new seeds.

    Attributes:
        objective: Name of the metric.
        mode: ``max`` if larger values of the objective are better, ``min`` if smaller ones are.
        seeds: The new seeds.
        candidates: At least one.
        winner: Index of the candidate with the best mean.

    Raises:
        ValueError: The fields contradict each other.
    """

    objective: str
    mode: Mode
    seeds: tuple[int, ...]
    candidates: tuple[ConfirmedCandidate, ...]
    winner: int

    def __post_init__(self) -> None:
        if not 0 <= self.winner < len(self.candidates):
            raise ValueError(f"winner is {self.winner} of {len(self.candidates)} candidates")
        if self.winning_candidate.mean is None or self.winning_candidate.is_for_comparison:
            raise ValueError(f"candidates[{self.winner}] cannot be the winner")
        for index, candidate in enumerate(self.candidates):
            scores, seeds = len(candidate.scores), len(self.seeds)
            if scores != seeds:
                raise ValueError(f"candidates[{index}] has {scores} scores of {seeds} seeds")

    @property
    def sign(self) -> float:
        """1 if larger values are better, else -1."""
        return 1.0 if self.mode == "max" else -1.0

    @property
    def winning_candidate(self) -> ConfirmedCandidate:
        """The candidate with the best mean."""
        return self.candidates[self.winner]

    @property
    def confirmed_trials(self) -> set[int]:
        """Numbers of the trials whose configurations were confirmed."""
        trials = {candidate.trial for candidate in self.candidates}
        return {trial for trial in trials if trial is not None}

    @property
    def best_first(self) -> list[ConfirmedCandidate]:
        """The candidates, best mean first; those without a mean come last."""

        def rank(candidate: ConfirmedCandidate) -> tuple[bool, float]:
            return candidate.mean is None, -self.sign * (candidate.mean or 0.0)

        return sorted(self.candidates, key=rank)

    @property
    def comparisons(self) -> list[ConfirmedCandidate]:
        """The configurations added for comparison, each at its best epoch count, best first."""
        best_by_name: dict[str, ConfirmedCandidate] = {}
        for candidate in self.best_first:
            if candidate.is_for_comparison and candidate.mean is not None:
                best_by_name.setdefault(candidate.name, candidate)
        return list(best_by_name.values())

    @property
    def tested_candidates(self) -> list[ConfirmedCandidate]:
        """Candidates evaluated on the test set: the winner and those added for comparison."""
        return [self.winning_candidate, *self.comparisons]

    @property
    def optimism(self) -> float | None:
        """How much better the winner's search value is than its mean; None if unknown."""
        best, mean = self.winning_candidate.search_value, self.winning_candidate.mean
        return None if best is None or mean is None else self.sign * (best - mean)
