"""The honest winner: the best configurations of a search, trained again on new seeds.

A search's best value is the luckiest of many trainings; a mean over new seeds leaves that luck out.
It is still of the validation images that chose. Nothing is chosen by the test split, which each
final model reads once.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.record import columns
from results.record.columns import Device
from results.record.files import beside, read_json, write_json
from results.record.history import History, Objective, TrialRecord, has_diverged
from results.record.intervals import mean_of
from results.record.values import Values
from search.errors import TrainingError, UsageError
from search.final.final_folder import write_final
from search.final.training import (
    Share,
    Trained,
    Training,
    evaluate_all,
    last_metrics,
    ray_errors_told,
    train_all,
)
from search.plan.plan import Confirmation, Problem
from search.space.parameters import fingerprint
from search.storage.folder import RunFolder
from search.worker import process
from search.worker.data import Data

if TYPE_CHECKING:
    import ray

    from search.final.scores import Evaluated

Say = Callable[[str], None]
ACCURACY = "test_accuracy"


@dataclass(frozen=True)
class Candidate:
    """A configuration at a number of epochs.

    Attributes:
        name: As tables call it.
        trial: Number of its trial; None of one that was given to compare.
        values: The configuration.
        epochs: How long it is trained.
        search_value: The best value that its trial had in the search.
        device: Where its trial was trained, in a search that decided it for each.
    """

    name: str
    trial: int | None
    values: Values
    epochs: int
    search_value: float | None
    device: Device | None = None


# A training: a candidate on a seed.
Pair = tuple[Candidate, int]


def different(history: History) -> list[TrialRecord]:
    """Return the trials that reported a value, best first, of equal configurations the best."""
    found: dict[str, TrialRecord] = {}
    for trial in history.ranked():
        found.setdefault(fingerprint(trial.values), trial)
    return list(found.values())


def candidates(history: History, asked: Confirmation) -> list[Candidate]:
    """Return the best configurations, each once and at each number of epochs, then the others.

    Raises:
        UsageError: Fewer trials have reported a value than are asked for.
    """
    ranked = different(history)
    if len(ranked) < asked.top:
        raise UsageError(
            f"{asked.top} to confirm: {len(ranked)} different configurations have reported a "
            f"value: expected at most {len(ranked)}."
        )
    planned = sorted(set(asked.epochs))
    own = [
        Candidate(
            f"trial {trial.trial}",
            trial.trial,
            trial.values,
            epochs,
            trial.best_value,
            trial.device,
        )
        for trial in ranked[: asked.top]
        for epochs in planned
    ]
    others = [
        Candidate(name, None, values, epochs, None)
        for name, values in asked.also.items()
        for epochs in planned
    ]
    return own + others


def confirm(
    problem: Problem,
    stored: "ray.ObjectRef[Data]",
    history: History,
    asked: Confirmation,
    *,
    folder: RunFolder,
    share: Share,
    say: Say,
) -> dict[str, Any]:
    """Train on new seeds, choose by the mean, evaluate the final models. Ray is running already.

    What is trained is kept at once: a confirmation that was cut off goes on with what is left.

    Args:
        problem: Names of model and data, and the seed of the search.
        stored: The splits; they stay those of the search.
        history: The search.
        asked: What is to be confirmed.
        folder: The run; ``confirm/`` is written, then ``final/``.
        share: What a training takes.
        say: Told of each training that is done.

    Returns:
        What ``confirm/confirmation.json`` says.

    Raises:
        UsageError: There are fewer trials than are asked for.
        TrainingError: A configuration cannot be trained any more, or all of them diverge.
    """
    found = candidates(history, asked)
    seeds = [problem.seed + number for number in range(1, asked.seeds + 1)]
    shelf = Shelf(folder, seeds)
    train = partial(_train, problem, stored, shelf, share, say)
    with ray_errors_told("Confirming"):
        say(f"confirming {len(found)} candidates on {len(seeds)} new seeds")
        _say_what_is_replaced(folder, found, seeds, say)
        train([pair for pair in shelf.pairs(found) if not shelf.is_trained(*pair)])
        scores = [shelf.scores(one, problem.objective) for one in found]
        rows = ranked_rows(found, scores, problem.objective)
        told: dict[str, Any] = {
            "objective": problem.objective.name,
            "mode": problem.objective.mode,
            "seeds": seeds,
            "candidates": rows,
            "winner": _winner(rows),
        }
        unread = _unread([found[place] for place in finals(told)], shelf, folder)
        train([pair for pair in unread if not shelf.model_file(*pair).exists()])
        _evaluate(problem, stored, unread, shelf, share, folder)
    for place in finals(told):
        rows[place]["test"] = shelf.test(found[place])
    _name_seeds(folder, seeds)
    write_json(folder.confirmation_file, told)
    shelf.forget_models()
    folder.forget_retrainings()
    return told


def _say_what_is_replaced(
    folder: RunFolder, found: Sequence[Candidate], seeds: Sequence[int], say: Say
) -> None:
    """Say it where the run has another confirmation; its trainings stay in ``confirm/``."""
    if not folder.confirmation_file.exists():
        return
    former = read_json(folder.confirmation_file)
    rows = [(row["values"], row["epochs"]) for row in former["candidates"]]
    if (rows, former["seeds"]) != ([(one.values, one.epochs) for one in found], seeds):
        say(
            f"this replaces the confirmation of {len(rows)} candidates on {len(former['seeds'])} "
            f"seeds; its trainings are kept in {columns.CONFIRM_DIR}/"
        )


def confirmed_trials(folder: RunFolder) -> set[int]:
    """Return whose configurations were confirmed last; none where nothing was."""
    if not folder.confirmation_file.exists():
        return set()
    rows = read_json(folder.confirmation_file)["candidates"]
    return {row["trial"] for row in rows if row["trial"] is not None}


class Shelf:
    """Keeps each training as soon as it is done: its metrics, and its model till the end.

    Args:
        folder: The run.
        seeds: The new seeds.
    """

    def __init__(self, folder: RunFolder, seeds: Sequence[int]) -> None:
        self.path = folder.path / columns.CONFIRM_DIR
        self.path.mkdir(exist_ok=True)
        self.seeds = seeds
        self._folder = folder

    def pairs(self, found: Sequence[Candidate]) -> list[Pair]:
        """Return the trainings of some candidates, each once, though two may have one."""
        pairs: dict[str, Pair] = {}
        for one in found:
            for seed in self.seeds:
                pairs.setdefault(self._stem(one, seed), (one, seed))
        return list(pairs.values())

    def is_trained(self, one: Candidate, seed: int) -> bool:
        """Tell whether a training is there."""
        return self._record_file(one, seed).exists()

    def training(self, one: Candidate, seed: int) -> Training:
        """Return what is to be trained of a candidate; a seed draws the same for each of them."""
        return Training(
            f"{one.name} at {one.epochs} epochs on seed {seed}",
            one.values,
            one.epochs,
            process.trial_seed(seed, 0),  # at each number of epochs: they are compared by seed
            self._folder.checkpoints / f"retraining-{self._stem(one, seed)}-state.npz",
            one.device,
        )

    def put(self, one: Candidate, seed: int, trained: Trained) -> None:
        """Keep a training that is done: its model first, as its metrics say that it is there."""
        with beside(self.model_file(one, seed)) as fresh:
            fresh.write_bytes(trained.model)
        if not self.is_trained(one, seed):  # else its model alone was missing
            kept = {"values": one.values, "history": trained.history, "test": None}
            write_json(self._record_file(one, seed), kept)

    def evaluated(self, one: Candidate, seed: int, scores: Mapping[str, Any]) -> None:
        """Keep what a final model does on the test split, which is not read for it again."""
        record = read_json(self._record_file(one, seed))
        write_json(self._record_file(one, seed), record | {"test": scores})

    def is_evaluated(self, one: Candidate, seed: int) -> bool:
        """Tell whether a training's model has read the test split."""
        return read_json(self._record_file(one, seed))["test"] is not None

    def history(self, one: Candidate, seed: int) -> list[dict[str, float | None]]:
        """Return the metrics of each epoch."""
        found: list[dict[str, float | None]] = read_json(self._record_file(one, seed))["history"]
        return found

    def test(self, one: Candidate) -> dict[str, Any] | None:
        """Return the test accuracy on each seed, their mean and interval; None of no classifier."""
        records = [read_json(self._record_file(one, seed)) for seed in self.seeds]
        accuracies = [record["test"].get(ACCURACY) for record in records]
        if None in accuracies:
            return None
        return {"accuracies": accuracies, **mean_of(accuracies).to_json()}

    def scores(self, one: Candidate, objective: Objective) -> list[float | None]:
        """Return the objective at the last epoch on each seed; None of one that diverged."""
        lasts = [self.history(one, seed)[-1] for seed in self.seeds]
        return [None if has_diverged(one, objective) else one.get(objective.name) for one in lasts]

    def model_file(self, one: Candidate, seed: int) -> Path:
        """Where the model is, till the final ones are evaluated."""
        return self.path / f"{self._stem(one, seed)}.keras"

    def forget_models(self) -> None:
        """Remove the models of all trainings: the final one is in ``final/``."""
        for model in self.path.glob("*.keras"):
            model.unlink()

    def _record_file(self, one: Candidate, seed: int) -> Path:
        return self.path / f"{self._stem(one, seed)}.json"

    def _stem(self, one: Candidate, seed: int) -> str:
        # By the configuration: another may bear the same name in another confirmation.
        digest = hashlib.sha256(fingerprint(one.values).encode()).hexdigest()[:12]
        return f"{digest}-epochs-{one.epochs:05d}-seed-{seed}"


def ranked_rows(
    found: Sequence[Candidate], scores: Sequence[Sequence[float | None]], objective: Objective
) -> list[dict[str, Any]]:
    """Return a row for each candidate: its mean, how far it is from the best, the verdict.

    Raises:
        TrainingError: All of the search's own diverged on some seed.
    """
    means = [None if None in one else mean_of([x for x in one if x is not None]) for one in scores]
    best: int | None = None
    for place, candidate in enumerate(found):
        mean, leader = means[place], means[best] if best is not None else None
        if candidate.trial is None or mean is None:
            continue
        if objective.is_better(mean.mean, leader.mean if leader else None):
            best = place
    if best is None:
        raise TrainingError(
            f"Confirming gave no finite {objective.name}: every configuration diverges on some "
            "seed. Confirm more of them, or search on."
        )
    return [
        _row(found[place], scores[place], scores[best], objective, is_winner=place == best)
        for place in range(len(found))
    ]


def _row(
    one: Candidate,
    scores: Sequence[float | None],
    best: Sequence[float | None],
    objective: Objective,
    *,
    is_winner: bool,
) -> dict[str, Any]:
    finite = [score for score in scores if score is not None]
    is_whole = len(finite) == len(scores)
    mean = mean_of(finite).to_json() if is_whole else dict.fromkeys(("mean", "low", "high"))
    difference = None
    if is_whole and not is_winner:
        difference = mean_of([a - b for a, b in zip(finite, best, strict=True) if b is not None])
    verdict = "winner" if is_winner else "worse"
    if difference is not None:
        is_better = objective.is_better(difference.mean, 0.0)
        verdict = "tie" if difference.low <= 0 <= difference.high else verdict
        verdict = "better" if verdict == "worse" and is_better else verdict
    return {
        "name": one.name,
        "trial": one.trial,
        "epochs": one.epochs,
        "values": one.values,
        "search_value": one.search_value,
        "scores": list(scores),
        **mean,
        "difference": None if difference is None else difference.to_json(),
        "verdict": verdict,
        "is_for_comparison": one.trial is None,
        "test": None,
    }


def _winner(rows: Sequence[Mapping[str, Any]]) -> int:
    return next(place for place, row in enumerate(rows) if row["verdict"] == "winner")


def finals(told: Mapping[str, Any]) -> list[int]:
    """Return which candidates have final models: the winner, and each to compare at its best."""
    rows, objective = told["candidates"], Objective(told["objective"], told["mode"])
    found = {None: told["winner"]}
    for place, row in enumerate(rows):
        if not row["is_for_comparison"] or row["mean"] is None:
            continue
        known = found.get(row["name"])
        if known is None or objective.is_better(row["mean"], rows[known]["mean"]):
            found[row["name"]] = place
    return list(found.values())


def _train(
    problem: Problem,
    stored: "ray.ObjectRef[Data]",
    shelf: Shelf,
    share: Share,
    say: Say,
    pairs: Sequence[Pair],
) -> None:
    by_state = {shelf.training(*pair).state: pair for pair in pairs}
    trainings = [shelf.training(*pair) for pair in pairs]
    done = train_all(problem, stored, trainings, share, lambda _training, _epoch: None)
    for number, (training, trained) in enumerate(done, start=1):
        shelf.put(*by_state[training.state], trained)
        score = trained.score(problem.objective)
        shown = "no number" if score is None else f"{score:.4f}"
        say(f"{number} of {len(pairs)}: {training.name}: {problem.objective.name} {shown}")


def _unread(final: Sequence[Candidate], shelf: Shelf, folder: RunFolder) -> list[Pair]:
    """Return which final models have still to read the test split, the winner's first one first."""
    winner, first = final[0], shelf.seeds[0]
    pairs = [pair for pair in shelf.pairs(final) if not shelf.is_evaluated(*pair)]
    file = folder.final / columns.EVALUATION_FILE
    told = read_json(file) if file.exists() else {}
    about = (told.get("values"), told.get("epochs"), told.get("seed"))
    if (winner, first) not in pairs and about != (winner.values, winner.epochs, first):
        pairs.insert(0, (winner, first))  # final/ has been another's since
    return pairs


def _evaluate(
    problem: Problem,
    stored: "ray.ObjectRef[Data]",
    pairs: Sequence[Pair],
    shelf: Shelf,
    share: Share,
    folder: RunFolder,
) -> None:
    """Have each final model read the test split; the winner's first one goes to ``final/``."""
    models = [(pair[0].values, shelf.model_file(*pair).read_bytes()) for pair in pairs]
    for pair, evaluated in zip(
        pairs, evaluate_all(problem, stored, models, share.on(Device.CPU)), strict=True
    ):
        if pair == pairs[0] and pair[1] == shelf.seeds[0] and pair[0].trial is not None:
            _write_final(problem, *pair, evaluated, shelf, folder)
        shelf.evaluated(*pair, evaluated.scores)


def _name_seeds(folder: RunFolder, seeds: Sequence[int]) -> None:
    """Have the final model's record name the seeds of this confirmation: an earlier had others."""
    file = folder.final / columns.EVALUATION_FILE
    evaluation = read_json(file)
    if evaluation[columns.CONFIRMED_SEEDS] != list(seeds):
        write_json(file, evaluation | {columns.CONFIRMED_SEEDS: list(seeds)})


def _write_final(
    problem: Problem,
    one: Candidate,
    seed: int,
    evaluated: "Evaluated",
    shelf: Shelf,
    folder: RunFolder,
) -> None:
    history = shelf.history(one, seed)
    about = {
        "epochs": one.epochs,
        "seed": seed,
        "objective": problem.objective.name,
        "trial": one.trial,
        "values": one.values,
        "retrain_epochs": [one.epochs],
        columns.CONFIRMED_SEEDS: list(shelf.seeds),
    }
    evaluation = evaluated.scores | last_metrics(history) | about
    model = shelf.model_file(one, seed).read_bytes()
    write_final(folder, model, {one.epochs: history}, evaluated, evaluation)
