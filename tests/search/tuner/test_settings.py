"""The arguments of RayTuner: what is wrong with them, and what follows from them. No Ray runs."""

from types import SimpleNamespace

import keras_tuner as kt
import pytest
import tensorflow as tf

import problems
from search import ASHA, RayTuner
from search.errors import UsageError
from search.plan.registry import Algorithm, Log, Scheduler


class Mirrored:
    """A strategy as tf.distribute has them, on devices that are not here."""

    def __init__(self, *devices):
        self.extended = SimpleNamespace(worker_devices=devices)
        self.num_replicas_in_sync = len(devices)


@pytest.mark.parametrize(
    ("device", "resources"), [("/device:GPU:{}", "{'gpu': 1}"), ("/device:CPU:{}", "{'cpu': 2}")]
)
def test_a_strategy_of_several_replicas_is_refused_and_the_resources_are_named(
    settings, device, resources
):
    strategy = Mirrored(device.format(0), device.format(1))
    [problem] = settings(distribution_strategy=strategy).problems(RayTuner, problems.small)
    assert problem.startswith("distribution_strategy has 2 replicas: expected one")
    assert problem.endswith(f"write resources_per_trial={resources}.")


@pytest.mark.parametrize(
    "make",
    [
        tf.distribute.MirroredStrategy,
        lambda: tf.distribute.OneDeviceStrategy("/cpu:0"),
        tf.distribute.get_strategy,
    ],
    ids=["mirrored", "one-device", "default"],
)
def test_a_strategy_of_one_replica_is_accepted(settings, make):
    assert settings(distribution_strategy=make()).problems(RayTuner, problems.small) == []


def test_all_mistakes_are_listed_at_once_before_anything_is_made(tmp_path):
    with pytest.raises(UsageError) as caught:
        RayTuner(
            None, "val_foo", max_trials=0, max_retries_per_trial=-1, factor=3, algorithm="tp",
            scheduler="ash", distribution_strategy=object(), tune_new_entries=False, max_epochs=0,
            resources_per_trial={"cpu": 0}, log="tensorbord", nonsense=2, overwite=True, directory=tmp_path, project_name="run",
        )  # fmt: skip
    said = str(caught.value).splitlines()
    for part in (
        "factor=3 is an argument of another tuner: use search.kt.Hyperband instead.",
        "distribution_strategy=<object object",
        "nonsense=2 is not an argument of RayTuner",
        "overwite=True is not an argument of RayTuner: docs/keras-tuner.md lists them. Did you mean 'overwrite'?",
        "hypermodel is missing",
        "max_trials=0: expected a whole number, 1 or more",
        "max_retries_per_trial=-1: expected",
        "max_epochs=0: expected",
        "objective='val_foo': its name does not show whether to maximize or to minimize",
        f"algorithm='tp': expected one of {', '.join(Algorithm)}, or an oracle",
        "scheduler='ash': expected search.ASHA(...)",
        "resources_per_trial: 'cpu' is 0",
        f"log='tensorbord': expected one of {', '.join(Log)}. Did you mean 'tensorboard'?",
        "tune_new_entries=False without hyperparameters",
    ):
        assert sum(line.startswith(part) for line in said) == 1, part
    assert len(said) == 14
    assert list(tmp_path.iterdir()) == []
    assert isinstance(caught.value, ValueError)  # what a script for keras-tuner would catch


def test_arguments_that_contradict_an_oracle_are_named():
    oracle = kt.oracles.HyperbandOracle("val_loss", max_epochs=4)
    with pytest.raises(UsageError) as caught:
        RayTuner(
            problems.small, "val_accuracy", 3, 5, algorithm=oracle, scheduler=ASHA(), max_epochs=9
        )
    said = str(caught.value)
    with pytest.raises(UsageError, match=r"objective=.* contradicts the oracle"):
        RayTuner(problems.small, ["val_loss", "loss"], algorithm=oracle)
    with pytest.raises(UsageError, match=r"tune_new_entries=False contradicts the oracle"):
        RayTuner(problems.small, tune_new_entries=False, algorithm=oracle)
    for name in (
        "objective='val_accuracy' contradicts",
        "max_trials=3 contradicts",
        "seed=5 contradicts",
        "max_epochs=9 contradicts",
    ):
        assert name in said
    assert "with a Hyperband oracle: the oracle itself stops trials early" in said


def test_a_tuner_that_runs_its_trials_itself_needs_no_hypermodel(tmp_path):
    class Mine(RayTuner):
        def run_trial(self, trial, *args, **kwargs):
            return 1.0

    assert Mine(objective=None, directory=tmp_path).hypermodel is None
    with pytest.raises(UsageError, match="hypermodel is missing: expected a function"):
        RayTuner(objective="val_loss", directory=tmp_path)


def test_a_scheduler_is_asked_for_by_naming_it(settings):
    assert not settings().scheduler_asked
    assert not settings(scheduler="auto").scheduler_asked
    assert all(settings(scheduler=name).scheduler_asked for name in ("asha", ASHA(), None))


def test_asha_stops_trials_with_the_settings_of_the_script(settings):
    own = settings(scheduler=ASHA(2, 4))
    assert (own.scheduler_name, own.asha) == (Scheduler.ASHA, ASHA(2, 4))
    assert settings().asha == ASHA()


@pytest.mark.parametrize("name", Scheduler)
def test_every_scheduler_of_the_registry_may_be_named(settings, name):
    assert settings(scheduler=str(name)).scheduler_name is name


def test_no_scheduler_stops_trials_beside_hyperband_or_with_scheduler_none(settings):
    hyperband = kt.oracles.HyperbandOracle("val_loss")
    assert settings(None, algorithm=hyperband).scheduler_name is Scheduler.NONE
    assert settings(scheduler=None).scheduler_name is Scheduler.NONE


def test_hyperparameters_and_resources_of_another_kind_are_refused(settings):
    problems_of = settings(hyperparameters={"units": 3}, resources_per_trial={"CPUs": 1}).problems(
        RayTuner, problems.small
    )
    assert problems_of == [
        "hyperparameters={'units': 3}: expected a keras_tuner.HyperParameters, with the entries "
        "registered in it.",
        "resources_per_trial: Ray has no resource 'CPUs'. Did you mean 'cpu'?",
    ]
