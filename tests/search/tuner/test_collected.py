"""Which collections of a script are said to stay in the workers."""

import keras
import keras_tuner as kt
import pytest

from search.tuner.collected import describe_collections
from search.worker.tuner import TrialTuner


class Collecting(keras.callbacks.Callback):
    returned_attributes = ("returned",)

    def __init__(self):
        super().__init__()
        self.losses, self.by_epoch, self.seen = [], {}, set()
        self.returned, self.last, self.name = [], None, "a name"


class Model(kt.HyperModel):
    def __init__(self):
        super().__init__()
        self.built = []


def tuner_of(hypermodel):
    tuner = TrialTuner.__new__(TrialTuner)
    tuner.hypermodel = hypermodel
    return tuner


def test_lists_dicts_and_sets_of_the_scripts_own_classes_are_named_in_one_line():
    line = describe_collections(tuner_of(Model()), [Collecting(), Collecting()])
    names, _, rest = line.partition(": ")
    assert names == "Model.built, Collecting.losses, Collecting.by_epoch, Collecting.seen"
    assert "returned_attributes" in rest
    assert "\n" not in line


@pytest.mark.parametrize("callbacks", [None, [], (), keras.callbacks.History()])
def test_what_is_not_the_scripts_own_class_is_not_named(callbacks):
    history = keras.callbacks.History()
    history.history = {}
    assert describe_collections(tuner_of(kt.applications.HyperXception(classes=3, input_shape=(8, 8, 3))), callbacks) is None  # fmt: skip
    assert describe_collections(tuner_of(None), [history, "no callback"]) is None


def test_a_single_callback_is_looked_at_like_a_list_of_one():
    assert describe_collections(tuner_of(None), Collecting()) == describe_collections(
        tuner_of(None), [Collecting()]
    )


def test_a_function_that_builds_is_no_collection():
    assert describe_collections(tuner_of(lambda hp: None), None) is None


def test_of_a_tuner_only_what_its_methods_in_workers_use_is_named(tmp_path):
    class Mine(TrialTuner):
        returned_attributes = ("returned",)

        def __init__(self):
            self.histories, self.returned, self.ended = {}, [], []
            oracle = kt.oracles.RandomSearchOracle("val_loss")
            super().__init__(oracle, directory=tmp_path)

        def run_trial(self, trial):
            self.histories[trial.trial_id] = self.returned

        def on_trial_end(self, trial):
            self.ended.append(trial.trial_id)

    line = describe_collections(Mine(), None)
    assert line.partition(":")[0] == "Mine.histories"
