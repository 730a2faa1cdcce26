"""The confirmation: trains the best configurations of a search again, on new seeds.

The best value of a search is in part luck, as the best of many trainings; a mean over new seeds is
not. It still comes from the validation split that chose the configurations. The test split chooses
nothing: each final model reads it once.
"""

from collections.abc import Sequence
from typing import cast

from results.record import columns
from results.record.columns import ScoreKind, Values
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
from results.record.words import quantity
from search.errors import RunFolderError, TrainingError, UsageError
from search.final.confirmation_store import ConfirmationStore, Pair
from search.final.retrain import FinalModel, write_final
from search.final.training import Trainer, translated_ray_errors
from search.plan.plan import ConfirmationPlan
from search.space.parameters import fingerprint
from search.storage.folder import RunFolder
from search.storage.lock import Say


def distinct_trials(history: History) -> list[TrialRecord]:
    """Return the best trial of each configuration that reported a value, best first."""
    trials: dict[str, TrialRecord] = {}
    for trial in history.ranked():
        trials.setdefault(fingerprint(trial.values), trial)
    return list(trials.values())


def make_candidates(history: History, plan: ConfirmationPlan) -> list[Candidate]:
    """Return the best configurations, then those for comparison, each at each number of epochs.

    Raises:
        UsageError: Fewer configurations than planned have reported a value.
    """
    trials = distinct_trials(history)
    if len(trials) < plan.top:
        raise UsageError(
            f"--top {plan.top}: only {len(trials)} different configurations have reported a value: "
            f"expected at most {len(trials)}."
        )
    numbers_of_epochs = sorted(set(plan.epochs))
    # A score that fit returns is another quantity than the value of an epoch.
    is_comparable = history.score_kind is not ScoreKind.RETURNED
    from_search = [
        Candidate(
            f"trial {trial.trial}",
            trial.trial,
            epochs,
            trial.values,
            trial.best_value if is_comparable else None,
        )
        for trial in trials[: plan.top]
        for epochs in numbers_of_epochs
    ]
    for_comparison = [
        Candidate(name, None, epochs, values, None)
        for name, values in plan.also.items()
        for epochs in numbers_of_epochs
    ]
    return from_search + for_comparison


def confirm(
    trainer: Trainer,
    history: History,
    plan: ConfirmationPlan,
    folder: RunFolder,
    say: Say,
) -> Confirmation:
    """Train the candidates on new seeds, choose the best mean, evaluate the final models.

    Each training is saved at once: a confirmation that was cut off continues with the missing ones.

    Args:
        trainer: Trains and evaluates.
        history: The history of the search.
        plan: The candidates, seeds and epochs.
        folder: The run; ``confirm/`` is written, then ``final/``.
        say: Gets a line for each training that is done.

    Raises:
        UsageError: There are fewer trials than planned.
        TrainingError: A training failed, or every configuration diverges.
    """
    candidates, objective = make_candidates(history, plan), trainer.problem.objective
    seeds = [trainer.problem.seed + number for number in range(1, plan.seeds + 1)]
    devices = {number: trial.device for number, trial in history.trials.items()}
    store = ConfirmationStore(folder, seeds, devices)
    with translated_ray_errors("Confirming"):
        what = quantity(len(candidates), "candidate")
        say(f"confirming {what} on {quantity(len(seeds), 'new seed')}")
        _announce_replacement(folder, candidates, seeds, say)
        missing = [pair for pair in store.pairs(candidates) if not store.is_trained(*pair)]
        _train(trainer, store, missing, say)
        scores = [store.scores(candidate, objective) for candidate in candidates]
        confirmation = compare_candidates(candidates, seeds, scores, objective)
        unevaluated = _unevaluated(confirmation, store, folder)
        _train(trainer, store, [pair for pair in unevaluated if not store.has_model(*pair)], say)
        _evaluate(trainer, store, confirmation, unevaluated, folder)
    confirmation = store.with_tests(confirmation)
    _record_seeds(folder, seeds)
    confirmation.write(folder.confirmation_file)
    store.remove_leftovers()
    return confirmation


def confirmed_trials(folder: RunFolder) -> set[int]:
    """Return the trials whose configurations were confirmed last; empty without a confirmation."""
    if not folder.confirmation_file.exists():
        return set()
    return Confirmation.read(folder.confirmation_file).confirmed_trials


def compare_candidates(
    candidates: Sequence[Candidate],
    seeds: Sequence[int],
    scores: Sequence[Sequence[float | None]],
    objective: Objective,
) -> Confirmation:
    """Choose the candidate with the best mean score, and compare the others with it.

    Args:
        candidates: The candidates.
        seeds: The new seeds.
        scores: For each candidate, its objective on each seed; None for a diverged training.
        objective: The objective of the search.

    Raises:
        TrainingError: Each configuration of the search diverged on some seed.
    """
    means = [_mean(candidate_scores) for candidate_scores in scores]
    winner = _winner(candidates, means, objective)
    if winner is None:
        raise TrainingError(
            f"Confirming gave no finite {objective.name}: every configuration diverged on some "
            "seed. Confirm more configurations, or extend the search."
        )
    differences = [
        None if index == winner else _difference(candidate_scores, scores[winner])
        for index, candidate_scores in enumerate(scores)
    ]
    confirmed = [
        ConfirmedCandidate(
            **vars(candidate),
            scores=tuple(scores[index]),
            mean=mean.mean if mean else None,
            low=mean.low if mean else None,
            high=mean.high if mean else None,
            difference=differences[index],
            verdict=Verdict.WINNER if index == winner else _verdict(differences[index], objective),
            is_for_comparison=candidate.trial is None,
            test=None,
        )
        for index, (candidate, mean) in enumerate(zip(candidates, means, strict=True))
    ]
    mode = cast("Mode", objective.mode)
    return Confirmation(objective.name, mode, tuple(seeds), tuple(confirmed), winner)


def _winner(
    candidates: Sequence[Candidate], means: Sequence[Estimate | None], objective: Objective
) -> int | None:
    """Return the index of the search's candidate with the best mean; of equals, the first."""
    winner, best_mean = None, None
    for index, (candidate, mean) in enumerate(zip(candidates, means, strict=True)):
        if candidate.trial is not None and mean and objective.is_better(mean.mean, best_mean):
            winner, best_mean = index, mean.mean
    return winner


def _mean(scores: Sequence[float | None]) -> Estimate | None:
    finite = [score for score in scores if score is not None]
    return estimate_mean(finite) if len(finite) == len(scores) else None


def _difference(scores: Sequence[float | None], winner: Sequence[float | None]) -> Estimate | None:
    """Return the mean difference of the scores to the winner's, paired by seed."""
    pairs = zip(scores, winner, strict=True)
    return _mean([None if a is None or b is None else a - b for a, b in pairs])


def _verdict(difference: Estimate | None, objective: Objective) -> Verdict:
    if difference is None:
        return Verdict.WORSE
    if difference.low <= 0 <= difference.high:
        return Verdict.TIE
    return Verdict.BETTER if objective.is_better(difference.mean, 0.0) else Verdict.WORSE


def _announce_replacement(
    folder: RunFolder, candidates: Sequence[Candidate], seeds: Sequence[int], say: Say
) -> None:
    """Say whether this replaces another confirmation, whose trainings stay in ``confirm/``."""
    if not folder.confirmation_file.exists():
        return
    try:
        previous = Confirmation.read(folder.confirmation_file)
    except RunFolderError as error:
        say(f"{error} It is replaced.")
        return
    if (_trained(previous.candidates), previous.seeds) != (_trained(candidates), tuple(seeds)):
        say(
            f"this replaces the confirmation of {len(previous.candidates)} candidates on "
            f"{len(previous.seeds)} seeds; its trainings are kept in {columns.CONFIRM_DIR}/"
        )


def _trained(candidates: Sequence[Candidate]) -> list[tuple[Values, int]]:
    """Return what is trained of candidates: their configurations and epochs."""
    return [(candidate.values, candidate.epochs) for candidate in candidates]


def _train(trainer: Trainer, store: ConfirmationStore, pairs: Sequence[Pair], say: Say) -> None:
    objective = trainer.problem.objective
    trainings = [store.training(*pair) for pair in pairs]
    by_state = {training.state: pair for training, pair in zip(trainings, pairs, strict=True)}
    for number, (training, trained) in enumerate(trainer.train(trainings), start=1):
        store.save(*by_state[training.state], trained)
        score = trained.score(objective)
        shown = "no number" if score is None else f"{score:.4f}"
        say(f"{number} of {len(pairs)}: {training.name}: {objective.name} {shown}")


def _unevaluated(
    confirmation: Confirmation, store: ConfirmationStore, folder: RunFolder
) -> list[Pair]:
    """Return the trainings whose models are still to be evaluated on the test split."""
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
        pairs.insert(0, (winner, first))  # final/ holds another model by now
    return pairs


def _evaluate(
    trainer: Trainer,
    store: ConfirmationStore,
    confirmation: Confirmation,
    pairs: Sequence[Pair],
    folder: RunFolder,
) -> None:
    """Evaluate models on the test split; write the winner's of the first seed to ``final/``."""
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
        store.save_test(*pair, evaluated.scores)


def _record_seeds(folder: RunFolder, seeds: Sequence[int]) -> None:
    """Record these seeds with the final model, which may come from an earlier confirmation."""
    file = folder.final / columns.EVALUATION_FILE
    evaluation = read_json(file)
    if evaluation[columns.CONFIRMED_SEEDS] != list(seeds):
        write_json(file, evaluation | {columns.CONFIRMED_SEEDS: list(seeds)})
