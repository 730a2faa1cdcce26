"""What becomes of trials that hang, lose their process or run out of memory."""

import pytest

from results.record.columns import State
from search.engines.ray import messages
from search.engines.ray.liveness import CHECK_SECONDS, STARTUP_SECONDS
from search.errors import AllTrialsFailedError, RayLostError
from search.plan.registry import Scheduler

LOST = "its process has ended"


@pytest.fixture
def engine(make):
    return make(scheduler=Scheduler.NONE)


def states(engine):
    return {number: trial.state for number, trial in engine.history.trials.items()}


# --- Trials that hang -------------------------------------------------------------------------


def test_a_trial_without_an_epoch_for_too_long_is_ended_and_named(engine):
    config = engine.begun()
    other = engine.begun()
    engine.now = 20.0
    engine.epoch(other, 1)
    engine.now = 30.0
    engine.handler.handle_step_end()
    assert engine.machines.ended == []
    engine.now = 31.0
    engine.handler.handle_step_end()
    assert engine.machines.ended == [1]
    [end] = engine.recorded("trial_ended")
    assert (end["trial"], end["state"]) == (config.trial, "hung")
    assert end["error"] == "no epoch in 30 s: its process (host-1:1) was killed"
    # Ray tells that the process is lost, and it may still have had a report under way.
    engine.epoch(config, 1)
    engine.lose(config)
    assert states(engine) == {0: State.HUNG, 1: State.RUNNING}
    assert engine.recorded("worker_lost") == []
    assert not engine.state.unfinished


def test_liveness_is_checked_once_a_second(engine):
    engine.begun()
    engine.now = 30.5
    engine.handler.handle_step_end()
    engine.now += CHECK_SECONDS / 2
    engine.machines.is_ray_up = False
    engine.handler.handle_step_end()
    assert engine.state.ray_loss is None
    engine.now += CHECK_SECONDS / 2
    engine.handler.handle_step_end()
    assert engine.state.ray_loss is not None


def test_a_process_that_imports_or_waits_for_data_has_a_longer_limit(engine):
    config = engine.begun(ready=False)
    engine.now = STARTUP_SECONDS
    engine.handler.handle_step_end()
    assert engine.machines.ended == []
    engine.tell(config, messages.Ready())
    engine.now = STARTUP_SECONDS + 31
    engine.handler.handle_step_end()
    [end] = engine.recorded("trial_ended")
    assert end["error"].startswith("no epoch in 30 s")


def test_a_process_that_never_starts_to_train_is_ended_too(engine):
    engine.begun(ready=False)
    engine.now = STARTUP_SECONDS + 1
    engine.handler.handle_step_end()
    [end] = engine.recorded("trial_ended")
    assert end["error"].startswith("no epoch in 600 s")


def test_a_limit_above_that_of_the_start_holds_from_the_start(make):
    engine = make(hung_after_seconds=1000.0)
    engine.begun(ready=False)
    engine.now = 1000.0
    engine.handler.handle_step_end()
    assert engine.machines.ended == []
    engine.now = 1001.0
    engine.handler.handle_step_end()
    assert engine.machines.ended == [1]


def test_without_a_limit_no_trial_is_ended(make):
    engine = make(hung_after_seconds=None)
    engine.begun()
    engine.now = 1e6
    engine.handler.handle_step_end()
    assert engine.machines.ended == []


# --- Processes that are lost ------------------------------------------------------------------


def test_a_trial_whose_process_is_lost_is_restarted_and_names_the_cause(engine):
    config = engine.begun()
    engine.epoch(config, 1)
    said = "Worker exit type: X. Worker exit detail: Worker unexpectedly\n exits with 1. More."
    engine.lose(config, said)
    [lost] = engine.recorded("worker_lost")
    assert (lost["trial"], lost["by_trial"]) == (0, True)
    assert lost["error"] == "worker unexpectedly exits with 1"
    again = engine.begun()
    assert (again.trial, again.is_continued, again.values) == (0, True, config.values)
    assert [event["trial"] for event in engine.recorded("trial_restarted")] == [0]
    assert engine.history.trials[0].attempt == 2


def test_the_loss_of_a_process_without_an_error_of_ray_says_so(engine):
    config = engine.begun()
    engine.lose(config)
    assert engine.recorded("worker_lost")[0]["error"] == "Ray gave no reason"


def test_a_trial_that_ends_its_process_twice_without_progress_is_lost(engine):
    for _ in range(2):
        config = engine.begun()
        assert config.trial == 0
        engine.epoch(config, 1)
        engine.lose(config)
    [end] = engine.recorded("trial_ended")
    assert (end["trial"], end["state"]) == (0, "lost")
    assert end["error"] == "its process died 2 times without a new epoch: Ray gave no reason"
    assert engine.begun().trial == 1


def test_a_trial_that_makes_progress_each_time_is_restarted_without_limit(engine):
    for epoch in range(1, 6):
        config = engine.begun()
        engine.epoch(config, epoch)
        engine.lose(config)
    assert states(engine) == {0: State.RUNNING}
    assert engine.history.trials[0].attempt == 5


def test_the_loss_of_a_node_is_not_laid_to_its_trials(engine):
    for number in range(1, 5):
        config = engine.begun()
        engine.machines.nodes_down.add(f"node-{number}")
        engine.lose(config)
    lost = engine.recorded("worker_lost")
    assert [event["by_trial"] for event in lost] == [False] * 4
    assert lost[0]["error"] == "the node of its process (host-1:1) is lost"
    assert states(engine) == {0: State.RUNNING}


def test_the_loss_of_a_process_that_has_not_said_where_it_runs_is_not_laid_to_its_trial(engine):
    config = engine.suggestions.suggest("ray-0")
    engine.lose(config)
    assert engine.recorded("worker_lost")[0]["by_trial"] is False
    assert list(engine.state.unfinished) == [0]


def test_a_search_whose_first_trials_are_all_lost_ends(make):
    engine = make(trials=3)
    for _ in range(6):
        config = engine.begun()
        engine.lose(config)
    assert isinstance(engine.stopping.error, AllTrialsFailedError)


# --- Memory -----------------------------------------------------------------------------------


def test_a_trial_that_the_kernel_kills_for_its_memory_is_not_restarted(engine):
    config = engine.begun()
    engine.begun()
    engine.machines.out_of_memory.add(1)
    engine.lose(config)
    assert engine.machines.started == [1, 2]
    assert engine.machines.beside == [2]
    [end] = engine.recorded("trial_ended")
    assert (end["trial"], end["state"]) == (0, "out of memory")
    assert end["error"] == "the operating system killed its process for lack of memory"
    assert not engine.state.unfinished


RAYS_WORDS = """1 Workers (tasks / actors) killed due to memory pressure (OOM)
Memory on the node (IP: 127.0.0.1, ID: ab) was 9.5GB / 10.0GB (0.95).
Ray killed 1 worker: [pid=2, actor=Train, actual memory used=4.21GB].
Top 10 memory users: pid=1 pid=3"""


def test_only_the_trial_that_ray_kills_for_its_memory_is_out_of_memory(engine):
    engine.begun()
    engine.begun()
    engine.liveness.record_ray_out_of_memory(RAYS_WORDS)
    assert states(engine) == {0: State.RUNNING, 1: State.OUT_OF_MEMORY}
    [end] = engine.recorded("trial_ended")
    assert end["error"] == "Ray killed its process, which used 4.21GB"
    # Ray Tune has ended with it: what runs beside is continued on a new Ray.
    assert [event["trial"] for event in engine.recorded("worker_lost")] == [0]
    with pytest.raises(RayLostError, match="Ray killed a process to free memory"):
        engine.handler.handle_step_end()


# --- Ray itself -------------------------------------------------------------------------------


def test_the_end_of_ray_is_not_laid_to_the_running_trials(engine):
    config = engine.begun()
    engine.begun()
    engine.machines.is_ray_up = False
    engine.lose(config)
    lost = engine.recorded("worker_lost")
    assert [(event["trial"], event["by_trial"]) for event in lost] == [(0, False), (1, False)]
    with pytest.raises(RayLostError, match="Ray gave no reason"):
        engine.handler.handle_step_end()
    assert len(engine.recorded("worker_lost")) == 2


def test_the_end_of_ray_is_noticed_without_a_report(engine):
    engine.begun()
    engine.machines.is_ray_up = False
    engine.handler.handle_step_end()
    assert "the raylet" in engine.state.ray_loss
    with pytest.raises(RayLostError):
        engine.handler.handle_step_end()


def test_the_end_of_ray_is_noticed_before_there_are_trials(make):
    engine = make(space=None)
    engine.machines.is_ray_up = False
    engine.handler.handle_step_end()
    with pytest.raises(RayLostError):
        engine.handler.handle_step_end()
