"""What Ray Tune is given asks the parts of the engine; without a running Ray."""

import pickle
from types import SimpleNamespace

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from results.record.columns import Device, State
from search.engines.ray.adapters import Callback, Stopper, TuneScheduler, TuneSearcher
from search.engines.ray.messages import Ended, Epoch, Started, WarmUp, decode_config, encode
from search.engines.ray.trainable import set_stop_flag
from search.errors import ProblemError, RunFolderError


class Controller:
    """Stands for Ray Tune's controller."""

    def __init__(self, *trials):
        self.trials = trials
        self.stopped = []

    def get_trials(self):
        return self.trials

    get_live_trials = get_trials

    def stop_trial(self, trial):
        self.stopped.append(trial.trial_id)


class Actor:
    """Stands for Ray's handle of the process of a trial."""

    def __init__(self):
        self.called = []
        self.execute = SimpleNamespace(remote=self.called.append)


def tune_trial(name, config, *, status=Trial.RUNNING, error_file=None):
    return SimpleNamespace(
        trial_id=name, config=encode(config), status=status, error_file=error_file,
        temporary_state=SimpleNamespace(ray_actor=Actor()), init_local_path=lambda: None,
    )  # fmt: skip


def scheduler_of(engine):
    return TuneScheduler(engine.state, engine.handler, engine.suggestions)


def epoch(number, objective, **more):
    metrics = {"val_accuracy": objective}
    report = {"epoch": number, "epoch_seconds": 1.0, "metrics": metrics, "objective": objective}
    return encode(Epoch(report | more, "host:1"))


def test_the_scheduler_chooses_no_trial_to_run(make):
    waiting = tune_trial("ray-0", WarmUp(Device.CPU, discovers_space=False), status=Trial.PENDING)
    controller = Controller(waiting)
    assert FIFOScheduler().choose_trial_to_run(controller) is waiting
    assert scheduler_of(make()).choose_trial_to_run(controller) is None
    assert controller.stopped == []


def test_a_trial_that_waits_for_a_lost_gpu_is_taken_back(make):
    engine = make(
        trials=20, workers=8, other_resources={"gpu": 0.5}, device_rule="auto", address="auto"
    )
    engine.gpu_slots = 4
    engine.now = 10.0
    configs = {name: engine.suggestions.suggest(name) for name in "abcdefg"}
    trials = [tune_trial(name, one, status=Trial.PENDING) for name, one in configs.items()]
    on_gpu = [name for name, config in configs.items() if config.device is Device.GPU]
    running, *pending = on_gpu
    trials["abcdefg".index(running)].status = Trial.RUNNING  # until its process is lost
    engine.gpu_slots = 0
    engine.now = 20.0
    engine.suggestions.suggest("h")
    controller = Controller(*trials)
    scheduler_of(engine).choose_trial_to_run(controller)
    assert controller.stopped == pending != []
    assert [configs[name].trial for name in pending] == list(engine.state.unfinished)


def test_ray_ends_a_trial_once_its_end_is_recorded(make):
    engine = make()
    trial = tune_trial("ray-0", engine.suggestions.suggest("ray-0"))
    Callback(engine.state, engine.handler).on_trial_start(0, [], trial)
    scheduler = scheduler_of(engine)
    assert scheduler.on_trial_result(None, trial, epoch(1, 0.5)) == TrialScheduler.CONTINUE
    end = encode(Ended(State.COMPLETED))
    assert scheduler.on_trial_result(None, trial, end) == TrialScheduler.STOP
    assert [end["state"] for end in engine.recorded("trial_ended")] == ["completed"]


def test_a_stopped_trial_that_has_executions_left_hears_of_it_in_its_process(make):
    engine = make(task={"executions_per_trial": 2})
    trials = [tune_trial(name, engine.suggestions.suggest(name)) for name in ("ray-0", "ray-1")]
    for trial, objective in zip(trials, (0.9, 0.1), strict=True):
        Callback(engine.state, engine.handler).on_trial_start(0, [], trial)
        answer = scheduler_of(engine).on_trial_result(None, trial, epoch(1, objective))
        assert answer == TrialScheduler.CONTINUE
    told = [trial.temporary_state.ray_actor.called for trial in trials]
    assert told == [[], [set_stop_flag]]


def test_configurations_are_handed_to_ray_until_there_are_no_more(make):
    engine = make(trials=1)
    searcher = TuneSearcher(engine.state, engine.suggestions)
    config = decode_config(searcher.suggest("ray-0"))
    assert config.trial == 0
    assert searcher.suggest("ray-1") is None
    engine.take("ray-0", config)
    engine.handler.handle_report(config, Ended(State.COMPLETED))
    searcher.on_trial_complete("ray-0")
    assert searcher.suggest("ray-2") == Searcher.FINISHED


def test_an_error_keeps_its_class_which_ray_tune_would_turn_into_text(make, monkeypatch, tmp_path):
    engine = make()
    (tmp_path / "error.txt").write_text("ModuleNotFoundError: No module named 'lightgbm'")
    config = engine.suggestions.suggest("ray-0")
    trial = tune_trial("ray-0", config, error_file=str(tmp_path / "error.txt"))
    with pytest.raises(ProblemError):
        Callback(engine.state, engine.handler).on_trial_error(0, [], trial)
    assert "lightgbm" in str(engine.state.error)
    # Of a full disk too: a journal that is closed cannot be written either.
    engine.take("ray-0", config)
    engine.state.open_session.journal.close()
    with pytest.raises(RunFolderError):
        scheduler_of(engine).on_trial_result(None, trial, epoch(1, 0.5))
    assert isinstance(engine.state.error, RunFolderError)


def test_a_trial_whose_error_ray_did_not_write_is_lost_without_a_reason(make):
    engine = make()
    config = engine.suggestions.suggest("ray-0")
    engine.take("ray-0", config)
    for error_file in (None, "/no/such/file"):
        trial = tune_trial("ray-0", config, error_file=error_file)
        Callback(engine.state, engine.handler).on_trial_error(0, [], trial)
    lost = engine.recorded("worker_lost")
    assert {event["error"] for event in lost} == {"Ray gave no reason"}


def test_everything_ends_when_the_search_must_or_ray_has(make):
    engine = make()
    stopper = Stopper(engine.state, engine.stopping)
    assert not stopper.stop_all()
    assert not stopper("ray-0", encode(Started(engine.process())))
    engine.liveness.record_ray_loss("it has ended")
    assert stopper.stop_all()
    engine.state.ray_loss = None
    engine.stopping.interrupt()
    assert stopper.stop_all()


def test_ray_tune_pickles_nothing_of_the_driver(make):
    engine = make()
    for given in (
        Callback(engine.state, engine.handler),
        scheduler_of(engine),
        TuneSearcher(engine.state, engine.suggestions),
        Stopper(engine.state, engine.stopping),
    ):
        assert vars(pickle.loads(pickle.dumps(given))) == {}
