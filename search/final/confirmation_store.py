"""Stores every training of a confirmation in ``confirm/`` as soon as it is done."""

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

# A candidate and a seed: one training.
Pair = tuple[Candidate, int]
ACCURACY = "test_accuracy"


class ConfirmationStore:
    """The stored trainings of a run's confirmations.

    It keeps the metrics of each training, and the models until the final ones are evaluated. The
    file names consist of configuration, epochs and seed, so that a later confirmation finds the
    trainings of an earlier one.

    Args:
        folder: The run.
        seeds: The new seeds.
        devices: The device of each trial by its number; None if the search chose none.
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
        """Return the trainings of candidates; one that two candidates share is there once."""
        pairs: dict[str, Pair] = {}
        for candidate in candidates:
            for seed in self.seeds:
                pairs.setdefault(_stem(candidate, seed), (candidate, seed))
        return list(pairs.values())

    def training(self, candidate: Candidate, seed: int) -> Training:
        """Return the training of a candidate on a seed, which all candidates train with."""
        trial = candidate.trial
        return Training(
            f"{candidate.name} at {candidate.epochs} epochs on seed {seed}",
            candidate.values,
            candidate.epochs,
            process.trial_seed(seed, 0),  # for all epochs: candidates are compared seed by seed
            self._folder.checkpoints / f"retraining-{_stem(candidate, seed)}-state.npz",
            None if trial is None else self._devices.get(trial),
        )

    def save(self, candidate: Candidate, seed: int, trained: Trained) -> None:
        """Save a training: first its model, since its metrics mark it as complete."""
        with replacing(self._model_file(candidate, seed)) as fresh:
            fresh.write_bytes(trained.model)
        if not self.is_trained(candidate, seed):  # else only its model was missing
            record = {"values": candidate.values, "history": trained.history, "test": None}
            write_json(self._record_file(candidate, seed), record)

    def save_test(self, candidate: Candidate, seed: int, scores: Mapping[str, Any]) -> None:
        """Save a model's scores on the test split, so that it is never evaluated again."""
        record = self._record(candidate, seed)
        write_json(self._record_file(candidate, seed), record | {"test": scores})

    def is_trained(self, candidate: Candidate, seed: int) -> bool:
        """Tell whether the metrics of a training are stored."""
        return self._record_file(candidate, seed).exists()

    def is_evaluated(self, candidate: Candidate, seed: int) -> bool:
        """Tell whether the model of a training was evaluated on the test split."""
        return self._record(candidate, seed)["test"] is not None

    def has_model(self, candidate: Candidate, seed: int) -> bool:
        """Tell whether the model of a training is still stored."""
        return self._model_file(candidate, seed).exists()

    def trained(self, candidate: Candidate, seed: int) -> Trained:
        """Return the metrics and the model of a training."""
        history = self._record(candidate, seed)["history"]
        return Trained(history, self._model_file(candidate, seed).read_bytes())

    def scores(self, candidate: Candidate, objective: Objective) -> list[float | None]:
        """Return the objective at the last epoch on each seed; None if the training diverged."""
        last_epochs = [self._record(candidate, seed)["history"][-1] for seed in self.seeds]
        return [
            None if has_diverged(epoch, objective) else epoch.get(objective.name)
            for epoch in last_epochs
        ]

    def with_tests(self, confirmation: Confirmation) -> Confirmation:
        """Return a confirmation with the test accuracies of its final models."""
        finals = confirmation.tested_candidates
        candidates = [
            replace(candidate, test=self._test(candidate)) if candidate in finals else candidate
            for candidate in confirmation.candidates
        ]
        return replace(confirmation, candidates=tuple(candidates))

    def remove_leftovers(self) -> None:
        """Remove the models and the states of all trainings: the final model is in ``final/``."""
        for model in self._path.glob("*.keras"):
            model.unlink()
        self._folder.forget_retrainings()

    def _test(self, candidate: Candidate) -> AccuracyOnTest | None:
        """Return the test accuracy on each seed; None if the model is not a classifier."""
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
    # From the configuration: in another confirmation, another one may have the same name.
    digest = hashlib.sha256(fingerprint(candidate.values).encode()).hexdigest()[:12]
    return f"{digest}-epochs-{candidate.epochs:05d}-seed-{seed}"
