"""What ``confirm/confirmation.json`` says: the best configurations, trained anew on new seeds."""

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
    """The accuracy on the test set, in 0..1: each seed's model has read it once.

    Attributes:
        low: Lower end of the mean's 95 % bootstrap interval; both ends are part of it.
    """

    accuracies: tuple[float, ...]
    mean: float
    low: float
    high: float

    @property
    def estimate(self) -> Estimate:
        """The mean with its interval."""
        return Estimate(self.mean, self.low, self.high)


@dataclass(frozen=True)
class Candidate:
    """A configuration at a number of epochs.

    Attributes:
        name: What tables call the configuration.
        trial: Number of its trial; None of one that the user named to compare.
        epochs: How long it is trained.
        values: The configuration.
        search_value: The best value that its trial had in the search; None where it had none.
    """

    name: str
    trial: int | None
    epochs: int
    values: dict[str, Any]
    search_value: float | None


@dataclass(frozen=True)
class ConfirmedCandidate(Candidate):
    """A candidate, trained on the new seeds.

    Attributes:
        scores: The objective at the last epoch, by seed; None of a training that diverged.
        mean: Mean of the scores; None where any training diverged.
        low: Lower end of its 95 % bootstrap interval; None as the mean is.
        difference: Its scores less the winner's, paired by seed; None of the winner, and of one
            that diverged.
        is_for_comparison: Whether the user named it beside the search's own; it never wins.
        test: Its accuracy on the test set; None where that was not read.
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
        """The mean of its scores with the interval; None where any training diverged."""
        if self.mean is None or self.low is None or self.high is None:
            return None
        return Estimate(self.mean, self.low, self.high)


@dataclass(frozen=True)
class Confirmation(JsonRecord):
    """The results of the best configurations on new seeds.

    Attributes:
        mode: ``max`` or ``min``: which values of the objective are the better ones.
        candidates: At least one.
        winner: Place among them of the one with the best mean, from 0.

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
        for place, candidate in enumerate(self.candidates):
            scores, seeds = len(candidate.scores), len(self.seeds)
            if scores != seeds:
                raise ValueError(f"candidates[{place}] has {scores} scores of {seeds} seeds")

    @property
    def sign(self) -> float:
        """1 where more is better, else -1."""
        return 1.0 if self.mode == "max" else -1.0

    @property
    def winning_candidate(self) -> ConfirmedCandidate:
        return self.candidates[self.winner]

    @property
    def confirmed_trials(self) -> set[int]:
        """The trials whose configurations were confirmed."""
        trials = {candidate.trial for candidate in self.candidates}
        return {trial for trial in trials if trial is not None}

    @property
    def best_first(self) -> list[ConfirmedCandidate]:
        """The candidates by their means; those without one come last."""

        def rank(candidate: ConfirmedCandidate) -> tuple[bool, float]:
            return candidate.mean is None, -self.sign * (candidate.mean or 0.0)

        return sorted(self.candidates, key=rank)

    @property
    def comparisons(self) -> list[ConfirmedCandidate]:
        """The configurations to compare, each at its best number of epochs, the best first."""
        compared: dict[str, ConfirmedCandidate] = {}
        for candidate in self.best_first:
            if candidate.is_for_comparison and candidate.mean is not None:
                compared.setdefault(candidate.name, candidate)
        return list(compared.values())

    @property
    def tested_candidates(self) -> list[ConfirmedCandidate]:
        """Those whose models read the test set: the winner, and the configurations to compare."""
        return [self.winning_candidate, *self.comparisons]

    @property
    def optimism(self) -> float | None:
        """How much better the winner's best in the search was than its mean; None if unknown."""
        best, mean = self.winning_candidate.search_value, self.winning_candidate.mean
        return None if best is None or mean is None else self.sign * (best - mean)
