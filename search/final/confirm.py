"""The honest winner: the best configurations of a search, trained again on new seeds.

A search's best value is the luckiest of many trainings; a mean over new seeds leaves that luck out.
It is still of the validation images that chose. Nothing is chosen by the test split, which each
final model reads once.
"""

from collections.abc import Sequence
from typing import cast

from results.record import columns
from results.record.columns import Values
from results.record.confirmation import (
    Candidate,
    Confirmation,
    ConfirmedCandidate,
    Mode,
    Verdict,
)
from results.record.files import read_json, write_json
from results.record.history import History, Objective, TrialRecord
from results.record.intervals import Estimate, estimate_mean
from search.errors import RunFolderError, TrainingError, UsageError
from search.final.confirmation_store import ConfirmationStore, Pair
from search.final.retrain import FinalModel, write_final
from search.final.training import Trainer, ray_errors_as_ours
from search.plan.plan import ConfirmationPlan
from search.space.parameters import fingerprint
from search.storage.folder import RunFolder
from search.storage.lock import Say


def distinct(history: History) -> list[TrialRecord]:
    """Return the trials that reported a value, best first, of equal configurations the best."""
    trials: dict[str, TrialRecord] = {}
    for trial in history.ranked():
        trials.setdefault(fingerprint(trial.values), trial)
    return list(trials.values())


def candidates(history: History, planned: ConfirmationPlan) -> list[Candidate]:
    """Return the best configurations, each once and at each number of epochs, then the others.

    Raises:
        UsageError: Fewer trials have reported a value than are asked for.
    """
    ranked = distinct(history)
    if len(ranked) < planned.top:
        raise UsageError(
            f"{planned.top} to confirm: {len(ranked)} different configurations have reported a "
            f"value: expected at most {len(ranked)}."
        )
    numbers_of_epochs = sorted(set(planned.epochs))
    own = [
        Candidate(f"trial {trial.trial}", trial.trial, epochs, trial.values, trial.best_value)
        for trial in ranked[: planned.top]
        for epochs in numbers_of_epochs
    ]
    others = [
        Candidate(name, None, epochs, values, None)
        for name, values in planned.also.items()
        for epochs in numbers_of_epochs
    ]
    return own + others


def confirm(
    trainer: Trainer,
    history: History,
    planned: ConfirmationPlan,
    folder: RunFolder,
    say: Say,
) -> Confirmation:
    """Train on new seeds, choose by the mean, evaluate the final models.

    What is trained is kept at once: a confirmation that was cut off goes on with what is left.

    Args:
        trainer: Trains and evaluates.
        history: The search.
        planned: What is to be confirmed.
        folder: The run; ``confirm/`` is written, then ``final/``.
        say: Told of each training that is done.

    Raises:
        UsageError: There are fewer trials than are asked for.
        TrainingError: A configuration cannot be trained any more, or all of them diverge.
    """
    chosen, objective = candidates(history, planned), trainer.problem.objective
    seeds = [trainer.problem.seed + number for number in range(1, planned.seeds + 1)]
    devices = {number: trial.device for number, trial in history.trials.items()}
    store = ConfirmationStore(folder, seeds, devices)
    with ray_errors_as_ours("Confirming"):
        say(f"confirming {len(chosen)} candidates on {len(seeds)} new seeds")
        _say_what_is_replaced(folder, chosen, seeds, say)
        missing = [pair for pair in store.pairs(chosen) if not store.is_trained(*pair)]
        _train(trainer, store, missing, say)
        scores = [store.scores(candidate, objective) for candidate in chosen]
        confirmation = ranked(chosen, seeds, scores, objective)
        unread = _unread(confirmation, store, folder)
        _train(trainer, store, [pair for pair in unread if not store.has_model(*pair)], say)
        _evaluate(trainer, store, confirmation, unread, folder)
    confirmation = store.with_tests(confirmation)
    _name_seeds(folder, seeds)
    confirmation.write(folder.confirmation_file)
    store.forget_leftovers()
    return confirmation


def confirmed_trials(folder: RunFolder) -> set[int]:
    """Return whose configurations were confirmed last; none where nothing was."""
    if not folder.confirmation_file.exists():
        return set()
    return Confirmation.read(folder.confirmation_file).confirmed_trials


def ranked(
    chosen: Sequence[Candidate],
    seeds: Sequence[int],
    scores: Sequence[Sequence[float | None]],
    objective: Objective,
) -> Confirmation:
    """Compare candidates by their scores: the best mean wins, the others are held against it.

    Args:
        chosen: The candidates.
        seeds: The new seeds.
        scores: Of each candidate the objective on each seed; None of a training that diverged.
        objective: What was searched for.

    Raises:
        TrainingError: All of the search's own diverged on some seed.
    """
    means = [_mean(of_one) for of_one in scores]
    winner = _winner(chosen, means, objective)
    if winner is None:
        raise TrainingError(
            f"Confirming gave no finite {objective.name}: every configuration diverges on some "
            "seed. Confirm more of them, or search on."
        )
    differences = [
        None if place == winner else _difference(of_one, scores[winner])
        for place, of_one in enumerate(scores)
    ]
    confirmed = [
        ConfirmedCandidate(
            **vars(candidate),
            scores=tuple(scores[place]),
            mean=mean.mean if mean else None,
            low=mean.low if mean else None,
            high=mean.high if mean else None,
            difference=differences[place],
            verdict=Verdict.WINNER if place == winner else _verdict(differences[place], objective),
            is_for_comparison=candidate.trial is None,
            test=None,
        )
        for place, (candidate, mean) in enumerate(zip(chosen, means, strict=True))
    ]
    mode = cast("Mode", objective.mode)
    return Confirmation(objective.name, mode, tuple(seeds), tuple(confirmed), winner)


def _winner(
    chosen: Sequence[Candidate], means: Sequence[Estimate | None], objective: Objective
) -> int | None:
    """Return which of the search's own has the best mean, of equals the first."""
    winner, best = None, None
    for place, (candidate, mean) in enumerate(zip(chosen, means, strict=True)):
        if candidate.trial is not None and mean and objective.is_better(mean.mean, best):
            winner, best = place, mean.mean
    return winner


def _mean(scores: Sequence[float | None]) -> Estimate | None:
    finite = [score for score in scores if score is not None]
    return estimate_mean(finite) if len(finite) == len(scores) else None


def _difference(scores: Sequence[float | None], best: Sequence[float | None]) -> Estimate | None:
    """Return the mean of what the scores are above the winner's, seed by seed."""
    pairs = zip(scores, best, strict=True)
    return _mean([None if a is None or b is None else a - b for a, b in pairs])


def _verdict(difference: Estimate | None, objective: Objective) -> Verdict:
    if difference is None:
        return Verdict.WORSE
    if difference.low <= 0 <= difference.high:
        return Verdict.TIE
    return Verdict.BETTER if objective.is_better(difference.mean, 0.0) else Verdict.WORSE


def _say_what_is_replaced(
    folder: RunFolder, chosen: Sequence[Candidate], seeds: Sequence[int], say: Say
) -> None:
    """Say it where the run has another confirmation; its trainings stay in ``confirm/``."""
    if not folder.confirmation_file.exists():
        return
    try:
        before = Confirmation.read(folder.confirmation_file)
    except RunFolderError as error:
        say(f"{error} It is made anew.")
        return
    if (_trained(before.candidates), before.seeds) != (_trained(chosen), tuple(seeds)):
        say(
            f"this replaces the confirmation of {len(before.candidates)} candidates on "
            f"{len(before.seeds)} seeds; its trainings are kept in {columns.CONFIRM_DIR}/"
        )


def _trained(some: Sequence[Candidate]) -> list[tuple[Values, int]]:
    return [(candidate.values, candidate.epochs) for candidate in some]


def _train(trainer: Trainer, store: ConfirmationStore, pairs: Sequence[Pair], say: Say) -> None:
    objective = trainer.problem.objective
    trainings = [store.training(*pair) for pair in pairs]
    by_state = {training.state: pair for training, pair in zip(trainings, pairs, strict=True)}
    for number, (training, trained) in enumerate(trainer.train(trainings), start=1):
        store.keep(*by_state[training.state], trained)
        score = trained.score(objective)
        shown = "no number" if score is None else f"{score:.4f}"
        say(f"{number} of {len(pairs)}: {training.name}: {objective.name} {shown}")


def _unread(confirmation: Confirmation, store: ConfirmationStore, folder: RunFolder) -> list[Pair]:
    """Return which final models have still to read the test split, the winner's first one first."""
    winner, first = confirmation.winning_candidate, confirmation.seeds[0]
    pairs = [
        pair
        for pair in store.pairs(confirmation.tested_candidates)
        if not store.is_evaluated(*pair)
    ]
    file = folder.final / columns.EVALUATION_FILE
    evaluation = read_json(file) if file.exists() else {}
    final = (evaluation.get("values"), evaluation.get("epochs"), evaluation.get("seed"))
    if (winner, first) not in pairs and final != (winner.values, winner.epochs, first):
        pairs.insert(0, (winner, first))  # final/ has been another's since
    return pairs


def _evaluate(
    trainer: Trainer,
    store: ConfirmationStore,
    confirmation: Confirmation,
    pairs: Sequence[Pair],
    folder: RunFolder,
) -> None:
    """Have each final model read the test split; the winner's first one goes to ``final/``."""
    first = (confirmation.winning_candidate, confirmation.seeds[0])
    models = [(candidate.values, store.trained(candidate, seed).model) for candidate, seed in pairs]
    for pair, evaluated in zip(pairs, trainer.evaluate(models), strict=True):
        if pair == first:
            winner, seed = pair
            final = FinalModel(
                winner.trial,
                winner.values,
                confirmation.objective,
                seed,
                {winner.epochs: store.trained(*pair)},
                winner.epochs,
                evaluated,
                confirmation.seeds,
            )
            write_final(folder, final)
        store.keep_test(*pair, evaluated.scores)


def _name_seeds(folder: RunFolder, seeds: Sequence[int]) -> None:
    """Have the final model's record name the seeds of this confirmation: an earlier had others."""
    file = folder.final / columns.EVALUATION_FILE
    evaluation = read_json(file)
    if evaluation[columns.CONFIRMED_SEEDS] != list(seeds):
        write_json(file, evaluation | {columns.CONFIRMED_SEEDS: list(seeds)})
