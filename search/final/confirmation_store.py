"""confirm/: every training of a confirmation, kept as soon as it is done."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from results.record import columns
from results.record.columns import Device
from results.record.confirmation import AccuracyOnTest, Candidate, Confirmation
from results.record.files import read_json, replacing, write_json
from results.record.history import Objective, has_diverged
from results.record.intervals import estimate_mean
from search.final.training import Trained, Training
from search.space.parameters import fingerprint
from search.storage.folder import RunFolder
from search.worker import process

# A training: a candidate on a seed.
Pair = tuple[Candidate, int]
ACCURACY = "test_accuracy"


class ConfirmationStore:
    """Keeps the metrics of each training, and its model until the final ones are evaluated.

    A training is known by its configuration, its epochs and its seed: a later confirmation finds
    those of an earlier one.

    Args:
        folder: The run.
        seeds: The new seeds.
        devices: Where a trial was trained, in a search that decided it for each.
    """

    def __init__(
        self, folder: RunFolder, seeds: Sequence[int], devices: Mapping[int, Device | None]
    ) -> None:
        self.seeds = list(seeds)
        self._folder = folder
        self._devices = devices
        self._path = folder.path / columns.CONFIRM_DIR
        self._path.mkdir(exist_ok=True)

    def pairs(self, candidates: Iterable[Candidate]) -> list[Pair]:
        """Return the trainings of some candidates, each once, though two may share one."""
        pairs: dict[str, Pair] = {}
        for candidate in candidates:
            for seed in self.seeds:
                pairs.setdefault(_stem(candidate, seed), (candidate, seed))
        return list(pairs.values())

    def training(self, candidate: Candidate, seed: int) -> Training:
        """Return what is to be trained of a candidate; a seed draws the same for each of them."""
        trial = candidate.trial
        return Training(
            f"{candidate.name} at {candidate.epochs} epochs on seed {seed}",
            candidate.values,
            candidate.epochs,
            process.trial_seed(seed, 0),  # at each number of epochs: they are compared by seed
            self._folder.checkpoints / f"retraining-{_stem(candidate, seed)}-state.npz",
            None if trial is None else self._devices.get(trial),
        )

    def keep(self, candidate: Candidate, seed: int, trained: Trained) -> None:
        """Keep a training that is done: its model first, as its metrics say that it is there."""
        with replacing(self._model_file(candidate, seed)) as fresh:
            fresh.write_bytes(trained.model)
        if not self.is_trained(candidate, seed):  # else its model alone was missing
            kept = {"values": candidate.values, "history": trained.history, "test": None}
            write_json(self._record_file(candidate, seed), kept)

    def keep_test(self, candidate: Candidate, seed: int, scores: Mapping[str, Any]) -> None:
        """Keep a model's scores on the test split, which is not read for it again."""
        record = self._record(candidate, seed)
        write_json(self._record_file(candidate, seed), record | {"test": scores})

    def is_trained(self, candidate: Candidate, seed: int) -> bool:
        """Tell whether the metrics of a training are kept."""
        return self._record_file(candidate, seed).exists()

    def is_evaluated(self, candidate: Candidate, seed: int) -> bool:
        """Tell whether a training's model has read the test split."""
        return self._record(candidate, seed)["test"] is not None

    def has_model(self, candidate: Candidate, seed: int) -> bool:
        """Tell whether the model of a training is still kept."""
        return self._model_file(candidate, seed).exists()

    def trained(self, candidate: Candidate, seed: int) -> Trained:
        """Return a training, its model included."""
        history = self._record(candidate, seed)["history"]
        return Trained(history, self._model_file(candidate, seed).read_bytes())

    def scores(self, candidate: Candidate, objective: Objective) -> list[float | None]:
        """Return the objective at the last epoch on each seed; None of one that diverged."""
        lasts = [self._record(candidate, seed)["history"][-1] for seed in self.seeds]
        return [
            None if has_diverged(last, objective) else last.get(objective.name) for last in lasts
        ]

    def with_tests(self, confirmation: Confirmation) -> Confirmation:
        """Return a confirmation with the test accuracies of its final models."""
        finals = confirmation.tested_candidates
        candidates = [
            replace(candidate, test=self._test(candidate)) if candidate in finals else candidate
            for candidate in confirmation.candidates
        ]
        return replace(confirmation, candidates=tuple(candidates))

    def forget_leftovers(self) -> None:
        """Remove the models and the states of all trainings: the final model is in ``final/``."""
        for model in self._path.glob("*.keras"):
            model.unlink()
        self._folder.forget_retrainings()

    def _test(self, candidate: Candidate) -> AccuracyOnTest | None:
        """Return the test accuracy on each seed; None where the model is no classifier."""
        records = [self._record(candidate, seed) for seed in self.seeds]
        accuracies = [record["test"].get(ACCURACY) for record in records]
        if None in accuracies:
            return None
        return AccuracyOnTest(tuple(accuracies), **estimate_mean(accuracies).to_json())

    def _record(self, candidate: Candidate, seed: int) -> dict[str, Any]:
        record: dict[str, Any] = read_json(self._record_file(candidate, seed))
        return record

    def _record_file(self, candidate: Candidate, seed: int) -> Path:
        return self._path / f"{_stem(candidate, seed)}.json"

    def _model_file(self, candidate: Candidate, seed: int) -> Path:
        return self._path / f"{_stem(candidate, seed)}.keras"


def _stem(candidate: Candidate, seed: int) -> str:
    # By the configuration: another may bear the same name in another confirmation.
    digest = hashlib.sha256(fingerprint(candidate.values).encode()).hexdigest()[:12]
    return f"{digest}-epochs-{candidate.epochs:05d}-seed-{seed}"
