"""A row of the comparison: one run, or one published figure."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Row:
    """What is compared of a run. None is what is not known.

    Attributes:
        name: The run's folder, or what the published figure is of.
        engine: ``ray``, ``keras-tuner`` or ``published``.
        data: Reference of the data that was learnt: rows of other data are no peers.
        ended: Why the search ended.
        objective: The metric that was searched by.
        mode: ``max`` or ``min``: which values of it are the better ones.
        best: Best value of the objective over all epochs of all trials.
        reached_seconds: When it was reached, from the start of the process.
        test_accuracy: Accuracy of the final model on the test set, in 0..1.
        precision_macro: Its mean precision over the classes, in 0..1.
        recall_macro: Its mean recall, in 0..1.
        test_loss: Its loss on the test set.
        final_epochs: Epochs that it was retrained for.
        trials: Trials started.
        epochs: Epochs trained by all of them.
        wall_seconds: Seconds from the start of the process to the end of the last trial.
        space: Name of the space.
        algorithm: How configurations were chosen.
        workers: Trials at once.
        confirmed_mean: Mean of the objective over new seeds, of the winner among the confirmed.
        confirmed_low: Lower end of its 95 % bootstrap interval.
        confirmed_high: Upper end of it.
        confirmed_seeds: How many new seeds.
        confirmed_test_mean: Mean accuracy of the winner's models on the test set, in 0..1.
        confirmed_test_low: Lower end of its 95 % bootstrap interval.
        confirmed_test_high: Upper end of it.
        audit_wrong: How many of the audited trials were wrongly stopped.
        audit_audited: How many of the stopped trials were trained to their end.
        audit_seconds_saved: What stopping saved, in seconds of a worker; an estimate.
    """

    name: str
    engine: str
    data: str | None = None
    ended: str | None = None
    objective: str | None = None
    mode: str = "max"
    best: float | None = None
    reached_seconds: float | None = None
    test_accuracy: float | None = None
    precision_macro: float | None = None
    recall_macro: float | None = None
    test_loss: float | None = None
    final_epochs: int | None = None
    trials: int | None = None
    epochs: int | None = None
    wall_seconds: float | None = None
    space: str | None = None
    algorithm: str | None = None
    workers: int | None = None
    confirmed_mean: float | None = None
    confirmed_low: float | None = None
    confirmed_high: float | None = None
    confirmed_seeds: int | None = None
    confirmed_test_mean: float | None = None
    confirmed_test_low: float | None = None
    confirmed_test_high: float | None = None
    audit_wrong: int | None = None
    audit_audited: int | None = None
    audit_seconds_saved: float | None = None


FIELDS = tuple(field.name for field in fields(Row))
