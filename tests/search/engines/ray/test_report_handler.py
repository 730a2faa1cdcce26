"""What is recorded of what a process reports, and what becomes of the process."""

import pytest

from results.record.columns import Device, State
from search.engines.ray import messages
from search.engines.ray.messages import Ended, TrainTrial, WarmUp
from search.engines.ray.report_handler import Reply
from search.engines.ray.schedulers import FifoScheduler
from search.errors import FatalTrialError, NewEntriesError, ProblemError
from search.plan.registry import Scheduler
from search.session.origin import ResumedRun, read_previous_run
from search.space.parameters import Kind, Parameter, Space

NEW = Space((Parameter("rate", Kind.FLOAT, 0.1, low=0.01, high=1.0),)).to_json()
NO_MODULE = "(ip: 10.0.0.7) ...\nModuleNotFoundError: No module named 'lightgbm'\n"


@pytest.fixture
def engine(make):
    return make()


# --- Epochs -----------------------------------------------------------------------------------


def test_an_epoch_is_recorded_with_the_decision_on_it(engine):
    config = engine.begun()
    assert engine.epoch(config, 1, 0.75, laps={"train": 0.5}) is Reply.CONTINUE
    [epoch] = engine.recorded("epoch")
    assert epoch | {"at_seconds": None} == {
        "event": "epoch", "trial": 0, "epoch": 1, "epoch_seconds": 1.0, "decision": "continue", "worker": "host:1",
        "metrics": {"val_accuracy": 0.75}, "laps": {"train": 0.5}, "at_seconds": None,
    } | {key: epoch[key] for key in epoch if key in ("version", "crc")}  # fmt: skip


def stopped(engine):
    """Let the scheduler stop a trial; return its config and the last answer."""
    good, poor = engine.begun(), engine.begun()
    engine.epoch(good, 1, 0.9)
    return poor, engine.epoch(poor, 1, 0.1)


def test_a_trial_that_the_scheduler_stops_is_ended_at_once(engine):
    config, answer = stopped(engine)
    assert answer is Reply.END_TRIAL
    [end] = engine.recorded("trial_ended")
    assert (end["trial"], end["state"], end["scheduler"]) == (config.trial, "stopped", "asha")
    assert [epoch["decision"] for epoch in engine.recorded("epoch")] == ["continue", "stop"]


def test_a_stopped_trial_that_has_executions_left_ends_by_itself(make):
    engine = make(task={"executions_per_trial": 2})
    config, answer = stopped(engine)
    assert answer is Reply.REQUEST_STOP
    assert engine.recorded("trial_ended") == []
    # The scheduler does not decide on what is repeated, however poor.
    assert engine.epoch(config, 1, 0.0, execution=1) is Reply.CONTINUE
    assert engine.tell(config, Ended(State.STOPPED, result={"score": 0.05, "best_step": 0, "metrics": {}})) is Reply.END_TRIAL  # fmt: skip
    [end] = engine.recorded("trial_ended")
    assert (end["state"], end["score"]) == (State.STOPPED, 0.05)


def test_a_stopped_trial_that_returns_attributes_ends_by_itself_with_them(engine):
    good, poor = engine.begun(), engine.begun()
    engine.epoch(good, 1, 0.9)
    report = {"epoch": 1, "epoch_seconds": 1.0, "metrics": {"val_accuracy": 0.1}, "objective": 0.1}
    epoch = messages.Epoch(report, "host:1", is_end_reported=True)
    assert engine.tell(poor, epoch) is Reply.REQUEST_STOP
    assert engine.recorded("trial_ended") == []
    returned = {"Losses": {"losses": [0.5]}}
    assert engine.tell(poor, Ended(State.STOPPED, returned=returned)) is Reply.END_TRIAL
    [end] = engine.recorded("trial_ended")
    assert (end["state"], end["scheduler"], end["returned"]) == ("stopped", "asha", returned)
    assert engine.history.trials[poor.trial].returned == returned


def test_the_end_of_a_trial_that_names_no_attributes_records_none(engine):
    engine.tell(engine.begun(), Ended(State.COMPLETED))
    [end] = engine.recorded("trial_ended")
    assert "returned" not in end


def test_a_retry_of_a_failed_trial_is_recorded_and_judged_anew(make):
    engine = make(task={"executions_per_trial": 2, "max_retries_per_trial": 1})
    config, answer = stopped(engine)
    assert answer is Reply.REQUEST_STOP
    engine.epoch(config, 1, 0.1, execution=1)
    engine.tell(config, messages.Retried("ValueError: no"))
    [retried] = engine.recorded("trial_retried")
    assert (retried["trial"], retried["error"]) == (config.trial, "ValueError: no")
    assert engine.history.trials[config.trial].retries == 1
    assert engine.epoch(config, 1, 0.1) is Reply.CONTINUE  # ASHA counts a trial once at a rung


@pytest.mark.parametrize(
    "report",
    [
        messages.Epoch({"epoch": 1, "epoch_seconds": 1.0, "metrics": {}, "objective": 0.5}, "w", ["[one]", "2"]),
        messages.Retried("ValueError: no", ["[one]", "2"]),
        Ended(State.COMPLETED, printed=["[one]", "2"]),
    ],
    ids=["epoch", "retry", "end"],
)  # fmt: skip
def test_what_a_trial_prints_is_shown_with_its_number(engine, report):
    engine.begun()
    engine.tell(engine.begun(), report)
    lines = engine.screen.getvalue().splitlines()
    assert [line for line in lines if line.startswith("trial 1: ")] == [
        "trial 1: [one]",
        "trial 1: 2",
    ]


# --- Ends -------------------------------------------------------------------------------------


def test_the_end_of_a_trial_is_recorded_with_its_details(engine):
    config = engine.begun()
    answer = engine.tell(config, Ended(State.FAILED, "ValueError: no", "a traceback"))
    assert answer is Reply.END_TRIAL
    [end] = engine.recorded("trial_ended")
    assert (end["state"], end["error"], end["traceback"]) == (
        "failed",
        "ValueError: no",
        "a traceback",
    )
    assert engine.stopping.error is None


def test_a_fatal_end_ends_the_search_with_its_error(engine):
    config = engine.begun()
    engine.tell(config, Ended(State.FAILED, "no objective", "a traceback", "ObjectiveMissing"))
    assert isinstance(engine.stopping.error, FatalTrialError)
    assert (str(engine.stopping.error), engine.stopping.error.kind) == (
        "no objective",
        "ObjectiveMissing",
    )
    assert engine.stopping.error.__notes__ == ["a traceback"]
    assert engine.history.trials[0].state is State.FAILED


def test_a_full_disk_ends_the_search_and_not_the_trial(engine):
    config = engine.begun()
    answer = engine.tell(config, Ended(State.FAILED, "no space left", "", "RunFolderError"))
    assert answer is Reply.END_TRIAL
    assert engine.recorded("trial_ended") == []
    assert engine.history.trials[0].is_unfinished
    assert str(engine.stopping.error) == "no space left"


def test_the_late_end_of_an_ended_trial_is_not_recorded_again(engine):
    config = engine.begun()
    engine.now = 31.0
    engine.handler.handle_step_end()
    assert engine.tell(config, Ended(State.COMPLETED)) is Reply.END_TRIAL
    assert [end["state"] for end in engine.recorded("trial_ended")] == ["hung"]


# --- Scores of one kind -----------------------------------------------------------------------


class StopsAll(FifoScheduler):
    """Stops every trial as soon as it may."""

    stops_trials = True

    def should_stop(self, trial, epoch, value):
        return True


def of_fit(engine, trial_kind, *, score=7.0):
    """Train a trial of a fit of the user, which shows this kind of score; return the reply."""
    config = engine.begun()
    reply = engine.epoch(config, 1, 0.5, score_kind="unknown")
    result = {"score": score, "best_step": 0, "metrics": {}, "score_kind": trial_kind}
    if reply is Reply.CONTINUE:
        engine.tell(config, Ended(State.COMPLETED, result=result))
    return reply


@pytest.mark.parametrize(
    ("kind", "reply"), [("epochs", Reply.END_TRIAL), ("returned", Reply.CONTINUE)]
)
def test_no_trial_is_stopped_before_one_shows_that_its_epochs_say_what_it_is_worth(
    make, kind, reply
):
    engine = make(scheduler_asked=False)
    engine.handler.scheduler = StopsAll(max_epochs=9)
    replies = [of_fit(engine, kind, score=0.5 if kind == "epochs" else 7.0) for _ in range(2)]
    assert replies == [Reply.CONTINUE, reply]
    assert engine.screen.getvalue().count("another score") == (kind == "returned")


def test_a_scheduler_that_the_user_names_stops_trials_of_any_score(make):
    engine = make()
    engine.handler.scheduler = StopsAll(max_epochs=9)
    assert of_fit(engine, "returned") is Reply.END_TRIAL
    [end] = engine.recorded("trial_ended")
    assert end["state"] == "stopped"
    assert engine.history.ranked() == []


# --- The space --------------------------------------------------------------------------------


def test_a_new_parameter_is_searched_from_then_on(engine):
    config = engine.begun()
    engine.epoch(config, 1, values={"units": 8, "rate": 0.1}, space=NEW)
    [grown] = engine.recorded("space_grown")
    assert [row["name"] for row in grown["parameters"]] == ["rate"]
    assert [event["event"] for event in engine.recorded()][-2:] == ["space_grown", "epoch"]
    engine.epoch(config, 2, space=NEW)
    assert len(engine.recorded("space_grown")) == 1
    assert set(engine.begun().values) == {"units", "rate"}


def test_a_trial_without_an_epoch_reports_new_parameters_when_it_ends(engine):
    config = engine.begun()
    result = {"values": {"units": 8, "rate": 0.1}, "space": NEW}
    engine.tell(config, Ended(State.COMPLETED, result=result))
    assert len(engine.recorded("space_grown")) == 1
    [end] = engine.recorded("trial_ended")
    assert end["values"] == {"units": 8, "rate": 0.1}
    assert "space" not in end


def test_a_new_parameter_that_is_not_allowed_ends_the_search(make):
    engine = make(task={"allow_new_entries": False})
    config = engine.begun()
    engine.epoch(config, 1, space=NEW)
    assert isinstance(engine.stopping.error, NewEntriesError)
    assert "a build registered rate" in str(engine.stopping.error)
    assert engine.recorded("space_grown") == []


def test_a_new_parameter_that_is_not_to_be_tuned_keeps_its_default(make):
    engine = make(task={"tune_new_entries": False})
    config = engine.begun()
    engine.epoch(config, 1, space=NEW)
    assert engine.recorded("space_grown") == []
    assert engine.stopping.error is None
    assert set(engine.begun().values) == {"units"}


# --- Discovery --------------------------------------------------------------------------------


def discovering(engine):
    config = engine.suggestions.suggest("ray-0")
    assert config == WarmUp(Device.CPU, discovers_space=True)
    engine.handler.handle_process_start("ray-0", config)
    return config


def test_processes_wait_until_one_has_discovered_the_space(make):
    engine = make(space=None)
    config = discovering(engine)
    waits = engine.suggestions.suggest("ray-1")
    assert engine.tell(waits, messages.Waiting()) is Reply.CONTINUE
    assert engine.tell(config, messages.Discovered(NEW)) is Reply.CONTINUE
    assert engine.tell(waits, messages.Waiting()) is Reply.END_TRIAL
    assert engine.tell(config, messages.Waiting()) is Reply.END_TRIAL
    for name in ("ray-0", "ray-1"):
        engine.suggestions.release(name)
    assert set(engine.begun().values) == {"rate"}


def test_a_discovery_that_fails_ends_the_search_with_its_error(make):
    engine = make(space=None)
    answer = engine.tell(discovering(engine), Ended(State.FAILED, "no model", "", "ProblemError"))
    assert answer is Reply.END_TRIAL
    assert str(engine.stopping.error) == "no model"
    assert engine.state.session is None


def test_a_discovery_that_loses_its_process_is_repeated_once(make):
    engine = make(space=None, workers=1)
    config = discovering(engine)
    engine.lose(config)
    again = discovering(engine)
    with pytest.raises(ProblemError, match=r"its process died twice \(Ray gave no reason\)"):
        engine.lose(again)


def test_the_loss_of_a_warm_process_without_a_trial_changes_nothing(make):
    engine = make(space=None)
    discovering(engine)
    config = engine.suggestions.suggest("ray-1")
    for _ in range(3):
        engine.lose(config)
    assert engine.state.error is None
    assert engine.state.session is None  # the first process still discovers


def test_the_process_that_discovered_may_be_lost_afterwards(make):
    engine = make(space=None)
    config = discovering(engine)
    engine.tell(config, messages.Discovered(NEW))
    for _ in range(3):
        engine.lose(config)
    assert engine.state.error is None
    assert engine.state.session.searcher.space == Space.from_json(NEW)


# --- What else a process tells ----------------------------------------------------------------


def test_a_package_that_a_node_lacks_ends_the_search_and_names_both(engine):
    config = engine.begun()
    with pytest.raises(ProblemError, match=r"'lightgbm' cannot be imported on node 10.0.0.7"):
        engine.lose(config, NO_MODULE)
    with pytest.raises(ProblemError, match="'lightgbm' cannot be imported on a node"):
        engine.lose(config, NO_MODULE.replace("ip: ", ""))


def test_a_gpu_that_tensorflow_does_not_see_is_said_once_for_each_host(engine):
    config = engine.begun()
    for host in ("red", "red", "blue", "red", None):
        engine.tell(config, messages.Ready(host))
    lines = [line for line in engine.screen.getvalue().splitlines() if "GPU" in line]
    assert [line.split(": Ray assigns")[0] for line in lines] == ["warning: red", "warning: blue"]


def test_an_interrupted_search_is_left_at_once(engine):
    engine.begun()
    engine.stopping.interrupt()
    with pytest.raises(KeyboardInterrupt):
        engine.handler.handle_step_end()


def test_a_resumed_search_starts_with_its_decisions_and_its_unfinished_trials(make):
    engine = make()
    config, _ = stopped(engine)
    engine.state.open_session.journal.close()
    again = make(origin=ResumedRun(read_previous_run(engine.plan.out)))
    assert list(again.state.unfinished) == [0]
    assert again.begun().trial == 0
    # Its best was 0.9, the other's 0.1: a third is judged by both.
    third = again.begun()
    assert isinstance(third, TrainTrial)
    assert (third.trial, again.epoch(third, 1, 0.5)) == (2, Reply.END_TRIAL)
    assert config.trial == 1


def test_without_a_scheduler_nothing_is_stopped(make):
    engine = make(scheduler=Scheduler.NONE)
    _, answer = stopped(engine)
    assert answer is Reply.CONTINUE
