"""The fold of a journal's events: what is best, what counts, which trials may continue."""

import math

import pytest

from results.record.columns import Decision, Device, ScoreKind, State
from results.record.history import (
    EpochRecord,
    History,
    Objective,
    TrialRecord,
    divergence,
    has_diverged,
)

MAX, MIN = Objective("x", "max"), Objective("x", "min")


class Search:
    """A search whose events a test applies one after the other, a second apart."""

    def __init__(self, objective=MAX):
        self.history = History(objective)
        self.seconds = 0.0

    def apply(self, kind, trial=None, **fields):
        self.seconds += 1.0
        event = {"event": kind, "at_seconds": self.seconds, **fields}
        self.history.apply(event if trial is None else event | {"trial": trial})

    def start(self, *trials):
        for trial in trials:
            self.apply("trial_started", trial, values={"units": trial}, epochs=5)

    def epoch(self, trial, epoch, value, decision="continue", **fields):
        self.apply(
            "epoch", trial, epoch=epoch, epoch_seconds=0.5, decision=decision, worker="host:1",
            metrics={"x": value, "loss": 1.0}, **fields,
        )  # fmt: skip

    def lose_process(self, trial, *, by_trial=True):
        self.apply("worker_lost", trial, error="killed", by_trial=by_trial)
        self.apply("trial_restarted", trial)

    @property
    def best(self):
        """Trial, epoch and value of the best; None while there is none."""
        best = self.history.best
        return best and (best.trial, best.epoch, best.objective)

    @property
    def ranking(self):
        """Numbers of the ranked trials."""
        return [trial.trial for trial in self.history.ranked()]

    def epochs(self, trial):
        """Epoch, value and attempt of each epoch of a trial that counts."""
        records = self.history.trials[trial].epochs
        return [(record.epoch, record.objective, record.attempt) for record in records]


@pytest.fixture
def search():
    """A search with trial 0 under way."""
    new_search = Search()
    new_search.start(0)
    return new_search


# --- The objective ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "than", "is_better_max", "is_better_min"),
    [
        (0.6, 0.5, True, False),
        (0.4, 0.5, False, True),
        (0.5, 0.5, False, False),
        (0.5, None, True, True),
        (None, 0.5, False, False),
        (math.nan, 0.5, False, False),
        (math.nan, None, False, False),
    ],
)
def test_a_better_value_is_strictly_larger_or_smaller(value, than, is_better_max, is_better_min):
    assert MAX.is_better(value, than) is is_better_max
    assert MIN.is_better(value, than) is is_better_min


@pytest.mark.parametrize(
    ("value", "target", "is_reached_max", "is_reached_min"),
    [
        (0.6, 0.5, True, False),
        (0.5, 0.5, True, True),
        (0.4, 0.5, False, True),
        (None, 0.5, False, False),
        (0.5, None, False, False),
    ],
)
def test_a_target_is_reached_by_a_value_as_good_as_it(
    value, target, is_reached_max, is_reached_min
):
    assert MAX.is_reached(value, target) is is_reached_max
    assert MIN.is_reached(value, target) is is_reached_min


def test_values_rank_best_first_then_earliest_then_by_number():
    in_order = [(0.9, 5.0, 3), (0.5, 1.0, 7), (0.5, 2.0, 1), (0.5, 2.0, 2)]
    assert sorted(in_order, key=lambda row: MAX.rank(*row)) == in_order
    in_order = [in_order[1], *in_order[2:], in_order[0]]
    assert sorted(in_order, key=lambda row: MIN.rank(*row)) == in_order


def test_an_objective_of_run_json_has_its_parts():
    row = {"name": "sum", "mode": "min", "parts": [{"name": "a", "mode": "max"}]}
    assert Objective.from_json(row) == Objective("sum", "min", (Objective("a", "max"),))


@pytest.mark.parametrize("row", [{"name": "a"}, {"mode": "max"}])
def test_an_objective_without_name_or_mode_is_refused(row):
    with pytest.raises(KeyError):
        Objective.from_json(row)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"x": 0.5, "loss": 1.0}, None),
        ({}, None),  # a metric that is not reported says nothing
        ({"x": None, "loss": 1.0}, "x not finite in epoch 3"),
        ({"x": 0.5, "loss": None}, "loss not finite in epoch 3"),
        ({"x": None, "loss": None}, "loss and x not finite in epoch 3"),
        ({"x": 0.5, "other": None}, None),
    ],
)
def test_an_epoch_diverges_when_its_loss_or_its_objective_is_not_finite(metrics, message):
    assert has_diverged(metrics, MAX) is (message is not None)
    if message:
        assert divergence(metrics, MAX, 3) == message


def test_a_loss_that_is_the_objective_is_named_once():
    assert divergence({"loss": None}, Objective("loss", "min"), 1) == "loss not finite in epoch 1"


# --- The best value ---------------------------------------------------------------------------


@pytest.mark.parametrize(("objective", "best"), [(MAX, (1, 1, 0.9)), (MIN, (0, 2, 0.1))])
def test_the_best_is_over_all_epochs_of_all_trials(objective, best):
    search = Search(objective)
    search.start(0, 1)
    for trial, epoch, value in [(0, 1, 0.5), (1, 1, 0.9), (0, 2, 0.1), (1, 2, 0.4)]:
        search.epoch(trial, epoch, value)
    assert search.best == best
    assert search.history.best_value == best[2]
    assert search.ranking[0] == best[0]


@pytest.mark.parametrize("objective", [MAX, MIN])
def test_of_equal_values_the_first_is_the_best(objective):
    search = Search(objective)
    search.start(0, 1, 2)
    for trial in (2, 0, 1):
        search.epoch(trial, 1, 0.5)
        search.epoch(trial, 2, 0.5)
    assert search.best == (2, 1, 0.5)
    assert search.ranking == [2, 0, 1]


def test_some_trials_can_be_ranked_or_only_the_first():
    search = Search()
    search.start(0, 1, 2, 3)
    for trial, value in enumerate([0.5, 0.7, 0.6]):
        search.epoch(trial, 1, value)
    ranked = search.history.ranked
    assert [trial.trial for trial in ranked()] == [1, 2, 0]  # trial 3 has no value
    assert [trial.trial for trial in ranked([0, 3, 2])] == [2, 0]
    assert [trial.trial for trial in ranked([])] == []
    assert [trial.trial for trial in ranked(limit=2)] == [1, 2]
    assert [trial.trial for trial in ranked(limit=0)] == []


def test_a_value_that_is_not_finite_is_never_the_best():
    search = Search(MIN)
    search.start(0, 1)
    for epoch, value in enumerate([None, 0.5, None], start=1):
        search.epoch(0, epoch, value)
    search.epoch(1, 1, None)
    assert search.best == (0, 2, 0.5)
    assert search.ranking == [0]


def test_before_the_first_value_there_is_no_best(search):
    assert (search.history.best, search.history.best_value, search.ranking) == (None, None, [])
    assert (search.history.trials[0].best, search.history.trials[0].best_value) == (None, None)


# --- Epochs -----------------------------------------------------------------------------------


def test_an_epoch_is_recorded_as_its_trial_reported_it(search):
    laps = {"train": 0.25}
    search.epoch(0, 1, 0.5, decision="stop", execution=2, laps=laps)
    assert search.history.trials[0].epochs == [
        EpochRecord(
            trial=0, attempt=1, epoch=1, at_seconds=2.0, epoch_seconds=0.5, objective=0.5,
            metrics={"x": 0.5, "loss": 1.0}, decision=Decision.STOP, worker="host:1", execution=2,
            laps=laps,
        )
    ]  # fmt: skip


def test_an_epoch_without_execution_and_laps_is_of_the_first_execution(search):
    search.epoch(0, 1, 0.5)
    [record] = search.history.trials[0].epochs
    assert (record.execution, record.laps) == (0, {})


def test_a_metric_that_is_not_the_objective_is_no_value(search):
    search.apply(
        "epoch", 0, epoch=1, epoch_seconds=0.5, decision="continue", worker="w",
        metrics={"y": 0.9},
    )  # fmt: skip
    assert search.history.trials[0].epochs[0].objective is None
    assert search.best is None


def test_a_trial_counts_the_seconds_of_its_epochs_and_has_the_newest_worker(search):
    trial = search.history.trials[0]
    assert (trial.train_seconds, trial.worker) == (0, "")
    search.epoch(0, 1, 0.5)
    search.apply(
        "epoch", 0, epoch=2, epoch_seconds=0.25, decision="continue", worker="host:2", metrics={}
    )
    assert (trial.train_seconds, trial.worker) == (0.75, "host:2")


def test_the_scheduler_may_have_decided_to_stop_a_trial_after_its_newest_epoch(search):
    trial = search.history.trials[0]
    assert trial.was_told_to_stop is False
    search.epoch(0, 1, 0.5, decision="stop")
    assert trial.was_told_to_stop is True
    search.epoch(0, 2, 0.5)
    assert trial.was_told_to_stop is False


def test_every_trained_epoch_is_counted_repeated_ones_too(search):
    search.epoch(0, 1, 0.5)
    search.lose_process(0)
    search.epoch(0, 1, 0.5)
    search.epoch(0, 1, 0.5, execution=1)
    assert search.history.epochs_trained == 3


def test_an_epoch_updates_the_values_that_its_trial_used(search):
    search.epoch(0, 1, 0.5)
    assert search.history.trials[0].values == {"units": 0}
    search.epoch(0, 2, 0.5, values={"units": 0, "used": 1})
    search.epoch(0, 3, 0.5)
    trial = search.history.trials[0]
    assert (trial.values, trial.proposed) == ({"units": 0, "used": 1}, {"units": 0})


def test_an_epoch_says_how_it_was_trained_and_from_which_epoch_it_continued(search):
    trial = search.history.trials[0]
    assert (trial.path, trial.path_reason, trial.continued_from) == (None, None, 0)
    for epoch, path in enumerate(
        [("fast", None, 4), ("fit", "a callback", 0), None], start=1
    ):  # the third report says nothing of it
        fields = dict(zip(("name", "reason", "continued_from"), path, strict=True)) if path else {}
        search.epoch(0, epoch, 0.5, **({"path": fields} if fields else {}))
    assert (trial.path, trial.path_reason, trial.continued_from) == ("fit", "a callback", 4)


def test_the_epochs_that_a_scheduler_judged_are_the_finite_ones_of_first_executions(search):
    for epoch, value, execution in [(1, 0.5, 0), (1, 0.9, 1), (2, None, 0), (3, 0.7, 0)]:
        search.epoch(0, epoch, value, execution=execution)
    search.lose_process(0)
    search.epoch(0, 3, 0.6)
    judged = [(record.epoch, record.objective) for record in search.history.judged_epochs]
    assert judged == [(1, 0.5), (3, 0.7), (3, 0.6)]


def test_a_repeated_execution_does_not_change_the_best(search):
    search.epoch(0, 1, 0.5)
    search.epoch(0, 1, 0.9, execution=1)
    assert search.best == (0, 1, 0.5)
    assert search.history.trials[0].best_value == 0.5


# --- Processes that are lost ------------------------------------------------------------------


def test_epochs_of_a_lost_process_count_until_they_are_trained_again():
    search = Search()
    search.start(0, 1)
    search.epoch(1, 1, 0.7)
    for epoch, value in [(1, 0.5), (2, 0.6), (3, 0.9)]:
        search.epoch(0, epoch, value)
    search.lose_process(0)
    assert search.best == (0, 3, 0.9)  # it was really reported
    search.epoch(0, 3, 0.4)
    assert search.epochs(0) == [(1, 0.5, 1), (2, 0.6, 1), (3, 0.4, 2)]
    assert search.best == (1, 1, 0.7)
    assert search.history.trials[0].best_value == 0.6


def test_a_trial_whose_process_is_lost_in_its_second_execution_keeps_the_first(search):
    for execution, epoch, value in [(0, 1, 0.5), (0, 2, 0.6), (1, 1, 0.8), (1, 2, 0.9)]:
        search.epoch(0, epoch, value, execution=execution)
    search.lose_process(0)
    search.epoch(0, 2, 0.7, execution=1)
    assert search.epochs(0) == [(1, 0.5, 1), (2, 0.6, 1), (1, 0.8, 1), (2, 0.7, 2)]
    assert search.best == (0, 2, 0.6)  # a second execution does not count


def test_an_epoch_of_the_same_process_removes_nothing(search):
    for epoch, value in [(1, 0.5), (2, 0.9), (2, 0.6)]:
        search.epoch(0, epoch, value)
    assert search.epochs(0) == [(1, 0.5, 1), (2, 0.9, 1), (2, 0.6, 1)]
    assert search.best == (0, 2, 0.9)


def test_the_best_is_not_only_of_the_trial_that_is_trained_again():
    search = Search()
    search.start(0)
    search.epoch(0, 1, 0.9)
    search.lose_process(0)
    search.epoch(0, 1, None)
    assert (search.best, search.history.trials[0].best) == (None, None)


def test_deaths_of_a_process_count_until_its_trial_reaches_a_new_epoch(search):
    search.epoch(0, 1, 0.5)
    deaths = []
    for epoch, by_trial in [(None, True), (1, False), (1, True), (2, False)]:
        if epoch:
            search.epoch(0, epoch, 0.5)
        search.lose_process(0, by_trial=by_trial)
        deaths.append(search.history.trials[0].deaths)
    assert deaths == [1, 1, 2, 0]


def test_a_new_execution_is_further_than_every_epoch_of_the_one_before(search):
    search.epoch(0, 5, 0.5)
    search.lose_process(0)
    search.epoch(0, 1, 0.5, execution=1)
    trial = search.history.trials[0]
    assert (trial.furthest, trial.deaths) == ((1, 1), 0)


def test_a_restarted_trial_runs_again(search):
    search.apply("trial_ended", 0, state="stopped", scheduler="asha")
    search.apply("trial_restarted", 0)
    trial = search.history.trials[0]
    assert (trial.attempt, trial.state, trial.scheduler) == (2, State.RUNNING, None)
    assert trial.ended_seconds is None


# --- Trials -----------------------------------------------------------------------------------


def test_a_started_trial_runs_with_what_was_proposed():
    search = Search()
    search.start(3)
    assert search.history.trials == {
        3: TrialRecord(3, {"units": 3}, 1.0, planned_epochs=5, proposed={"units": 3})
    }
    trial = search.history.trials[3]
    assert (trial.attempt, trial.state, trial.retries, trial.deaths) == (1, State.RUNNING, 0, 0)
    assert (trial.furthest, trial.device, trial.multiply_adds) == ((0, 0), None, None)


def test_a_journal_may_not_record_the_planned_epochs():
    search = Search()
    search.apply("trial_started", 0, values={})
    assert search.history.trials[0].planned_epochs is None


def test_a_placed_trial_has_its_device_and_the_size_of_its_model(search):
    search.apply("trial_placed", 0, device="gpu", multiply_adds=7)
    trial = search.history.trials[0]
    assert (trial.device, trial.multiply_adds) == (Device.GPU, 7)


def test_a_failed_trial_starts_over_with_what_was_proposed(search):
    search.apply("trial_placed", 0, device="gpu", multiply_adds=7)
    search.epoch(0, 1, 0.9, values={"units": 0, "used": 1})
    search.apply("trial_retried", 0, error="ValueError: no")
    trial = search.history.trials[0]
    assert (trial.values, trial.proposed, trial.planned_epochs) == ({"units": 0}, {"units": 0}, 5)
    assert (trial.retries, trial.attempt, trial.epochs, trial.state) == (1, 2, [], State.RUNNING)
    assert (trial.device, trial.multiply_adds) == (Device.GPU, 7)


def test_epochs_before_a_retry_do_not_count_for_the_best():
    search = Search()
    search.start(0, 1)
    search.epoch(0, 1, 0.9)
    search.epoch(1, 1, 0.5)
    search.apply("trial_retried", 0, error="ValueError: no")
    assert search.best == (1, 1, 0.5)
    search.epoch(0, 1, 0.6)
    assert search.best == (0, 1, 0.6)
    assert search.history.epochs_trained == 3


def test_every_retry_of_a_trial_is_counted(search):
    for _ in range(2):
        search.apply("trial_retried", 0, error="ValueError: no")
    assert (search.history.trials[0].retries, search.history.trials[0].attempt) == (2, 3)


def test_an_ended_trial_has_its_state_its_error_and_its_last_values(search):
    search.apply(
        "trial_ended", 0, state="failed", error="ValueError: no", traceback="line 3",
        values={"units": 9},
    )  # fmt: skip
    trial = search.history.trials[0]
    assert (trial.state, trial.scheduler, trial.ended_seconds) == (State.FAILED, None, 2.0)
    assert (trial.error, trial.traceback, trial.values) == (
        "ValueError: no", "line 3", {"units": 9},
    )  # fmt: skip


def test_an_end_without_values_keeps_those_of_the_epochs(search):
    search.epoch(0, 1, 0.5, values={"units": 0, "used": 1})
    search.apply("trial_ended", 0, state="completed")
    trial = search.history.trials[0]
    assert (trial.values, trial.error, trial.traceback) == ({"units": 0, "used": 1}, None, None)
    assert trial.best_value == 0.5


def test_an_ended_trial_has_what_it_returned_until_it_starts_over(search):
    trial = search.history.trials[0]
    assert trial.returned == {}
    search.apply("trial_ended", 0, state="failed", returned={"Losses": {"losses": [0.5]}})
    assert trial.returned == {"Losses": {"losses": [0.5]}}
    search.apply("trial_retried", 0, error="ValueError: no")
    assert search.history.trials[0].returned == {}


def test_an_ending_names_the_scheduler_that_stopped_the_trial(search):
    assert str(search.history.trials[0].ending) == "running"
    search.apply("trial_ended", 0, state="stopped", scheduler="asha")
    assert str(search.history.trials[0].ending) == "stopped by ASHA"


def test_running_and_interrupted_trials_have_epochs_left_unless_they_failed():
    search = Search()
    search.start(0, 1, 2, 3)
    search.apply("trial_ended", 0, state="stopped", scheduler="asha")
    search.apply("trial_ended", 1, state="interrupted")
    search.apply("trial_ended", 2, state="interrupted", error="not of the space any more")
    assert [trial.trial for trial in search.history.unfinished()] == [1, 3]
    assert [trial.trial for trial in search.history.running()] == [3]
    assert search.history.count(State.INTERRUPTED) == 2
    assert search.history.count(State.FAILED) == 0


# --- Scores -----------------------------------------------------------------------------------


def test_a_score_that_a_trial_computed_itself_replaces_the_values_of_its_epochs():
    search = Search()
    search.start(0, 1)
    search.epoch(0, 1, 0.9)
    search.epoch(1, 1, 0.6)
    search.apply("trial_ended", 0, state="completed", score=0.5, best_step=3, metrics={"x": 0.4})
    assert search.best == (0, 4, 0.5)
    assert search.history.trials[0].best == EpochRecord(
        trial=0, attempt=1, epoch=4, at_seconds=5.0, epoch_seconds=0.0, objective=0.5,
        metrics={"x": 0.4}, decision=Decision.CONTINUE, worker="host:1", is_score=True,
    )  # fmt: skip


def test_a_trial_that_could_compute_no_score_has_no_value():
    search = Search()
    search.start(0, 1)
    search.epoch(0, 1, 0.5)
    search.epoch(1, 1, 0.6)
    search.apply("trial_ended", 1, state="failed", score=None, error="no finite number")
    assert search.history.trials[1].best is None
    assert search.best == (0, 1, 0.5)


# --- Scores of one kind -----------------------------------------------------------------------


def end(search, trial, score=None, kind=None, state="completed"):
    fields = {} if score is None else {"score": score, "best_step": 0, "metrics": {"x": score}}
    fields |= {} if kind is None else {"score_kind": kind}
    search.apply("trial_ended", trial, state=state, **fields)


def test_a_stopped_trial_is_not_ranked_beside_scores_of_another_kind():
    search = Search(MIN)
    search.start(0, 1, 2)
    search.epoch(0, 1, 0.5, score_kind="unknown")
    search.epoch(1, 1, 0.2, decision="stop", score_kind="unknown")
    end(search, 1, state="stopped")
    search.epoch(2, 1, 0.9, score_kind="unknown")
    end(search, 0, 4.8, "returned")
    end(search, 2, 3.7, "returned")
    assert search.ranking == [2, 0]
    assert search.best == (2, 1, 3.7)
    assert search.history.trials[1].best_value is None
    assert search.history.trials[1].best_epoch.objective == 0.2
    assert search.history.score_kind is ScoreKind.RETURNED


def test_nothing_is_ranked_before_a_trial_shows_what_its_score_is():
    search = Search()
    search.start(0, 1)
    search.epoch(0, 1, 0.5, score_kind="unknown")
    search.epoch(1, 1, 0.6, score_kind="unknown")
    assert (search.best, search.ranking) == (None, [])
    end(search, 0, kind="epochs")
    assert (search.best, search.ranking) == ((1, 1, 0.6), [1, 0])


def test_a_trial_that_returns_another_quantity_settles_the_kind():
    search = Search()
    search.start(0, 1, 2)
    search.epoch(0, 1, 0.5, score_kind="unknown")
    end(search, 0, kind="epochs")
    search.epoch(1, 1, 0.6, score_kind="unknown")
    assert search.best == (1, 1, 0.6)
    end(search, 1, 7.0, "returned")
    search.epoch(2, 1, 8.0, score_kind="unknown")
    end(search, 2, kind="epochs")
    assert search.history.score_kind is ScoreKind.RETURNED
    assert search.ranking == [1], "neither of the others returned a score"


def test_a_trial_that_returned_the_best_of_its_epochs_keeps_that_score():
    search = Search()
    search.start(0, 1, 2, 3)
    for trial in (0, 1, 2):
        search.epoch(trial, 1, 0.5 + trial / 10, score_kind="unknown")
    end(search, 0, 0.5, "epochs")
    end(search, 1, 0.2, "returned")
    end(search, 2, state="stopped")
    search.epoch(3, 1, 0.4, score_kind="epochs")
    end(search, 3)
    assert search.ranking == [0, 3, 1], "trial 3 returned its history: keras-tuner scored it"
    assert search.history.trials[2].best is None


def test_a_returned_score_that_is_the_best_epoch_is_that_epoch():
    search = Search()
    search.start(0)
    for epoch, value in enumerate([0.5, 0.9, 0.7], start=1):
        search.epoch(0, epoch, value, score_kind="unknown")
    end(search, 0, 0.9, "epochs")
    assert search.best == (0, 2, 0.9)
    assert not search.history.best.is_score


def test_a_completed_trial_that_was_cut_returned_nothing():
    search = Search()
    search.start(0, 1)
    search.epoch(0, 1, 0.5, score_kind="unknown")
    end(search, 0, kind="epochs")  # its fit trained on after the last epoch
    assert search.ranking == [0]
    search.epoch(1, 1, 0.4, score_kind="unknown")
    end(search, 1, 7.0, "returned")
    assert search.ranking == [1]


def test_a_score_that_shows_no_kind_counts_for_its_trial_alone():
    search = Search()
    search.start(0, 1)
    search.epoch(0, 1, 0.5, score_kind="unknown")
    search.epoch(1, 1, 0.9, score_kind="unknown")
    end(search, 0, 0.5, "unknown")
    assert search.history.score_kind is ScoreKind.UNKNOWN
    assert (search.best, search.ranking) == ((0, 1, 0.5), [0])


def test_an_unfinished_trial_of_several_executions_has_no_mean_yet():
    search = Search()
    search.start(0, 1)
    search.epoch(0, 1, 0.9, score_kind="executions")
    search.epoch(1, 1, 0.5, score_kind="executions")
    search.epoch(1, 1, 0.7, execution=1)
    end(search, 1, 0.6, "executions", state="stopped")
    assert search.ranking == [1], "a stopped trial has its mean"
    assert search.best == (1, 1, 0.6)


def test_a_journal_without_kinds_shows_them_by_its_scores():
    search = Search(MIN)
    search.start(0, 1)
    search.epoch(0, 1, 0.2, decision="stop")
    end(search, 0, state="stopped")
    assert search.best == (0, 1, 0.2)
    search.epoch(1, 1, 0.9)
    end(search, 1, 4.8)
    assert search.history.score_kind is ScoreKind.RETURNED
    assert search.ranking == [1]


# --- The search -------------------------------------------------------------------------------


def test_an_ended_search_has_its_time_and_reason_until_it_is_resumed(search):
    assert (search.history.ended_seconds, search.history.end_reason) == (None, None)
    search.apply("search_ended", reason="trials done")
    assert (search.history.ended_seconds, search.history.end_reason) == (2.0, "trials done")
    search.apply("search_resumed")
    assert (search.history.ended_seconds, search.history.end_reason) == (None, None)


def test_events_of_a_trial_whose_start_was_lost_are_ignored():
    search = Search()
    search.start(0, 2)
    search.epoch(1, 1, 0.9)
    search.apply("trial_ended", 1, state="completed")
    assert list(search.history.trials) == [0, 2]
    assert search.history.epochs_trained == 0


def test_events_that_this_program_does_not_know_are_ignored(search):
    search.apply("earlier_trial", values={}, score=0.9)
    search.apply("something_new", 0)
    assert search.history.trials[0] == TrialRecord(
        0, {"units": 0}, 1.0, planned_epochs=5, proposed={"units": 0}
    )
    assert search.best is None


def test_the_next_trial_has_the_lowest_number_that_is_free():
    search = Search()
    numbers = [search.history.next_trial]
    for trial in (0, 2, 1):
        search.start(trial)
        numbers.append(search.history.next_trial)
    assert numbers == [0, 1, 1, 3]


def test_a_replayed_history_is_that_of_the_events():
    events = [
        {"event": "trial_started", "trial": 0, "at_seconds": 1.0, "values": {"units": 8}},
        {"event": "trial_ended", "trial": 0, "at_seconds": 2.0, "state": "completed"},
    ]
    replayed = History.replay(MIN, events)
    assert replayed.objective is MIN
    assert replayed.trials[0].state is State.COMPLETED
    assert replayed.trials[0].ended_seconds == 2.0
