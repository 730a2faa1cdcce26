"""A project as keras-tuner itself leaves it is an earlier search. Imports Keras."""

import shutil

import keras
import keras_tuner as kt
import pytest
from made_up_runs import ACCURACY

from search.session.warm_start import read_earlier_search


class Scored(kt.HyperModel):
    """Returns a score that follows from its values, without training."""

    def build(self, hp):
        hp.Int("units", 2, 16)
        hp.Choice("momentum", [0.5, 0.9])
        return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])

    def fit(self, hp, model, *args, **kwargs):
        if hp.get("units") > 14:
            raise ValueError("too many")
        return {"val_accuracy": hp.get("units") / 100, "val_loss": 1.0}


@pytest.fixture(scope="module")
def tuner(tmp_path_factory):
    """A tuner that has tried six configurations, of which some failed."""
    tuner = kt.RandomSearch(
        Scored(), "val_accuracy", max_trials=6, seed=3, directory=tmp_path_factory.mktemp("theirs"),
        project_name="p", max_consecutive_failed_trials=6,
    )  # fmt: skip
    tuner.search(verbose=0)
    return tuner


def test_the_completed_trials_of_a_project_are_read_with_their_scores(tuner):
    earlier = read_earlier_search(tuner.project_dir, ACCURACY)
    completed = {t.trial_id: t for t in tuner.oracle.trials.values() if t.status == "COMPLETED"}
    assert earlier.kind == "keras-tuner"
    assert {trial.name: (trial.values, trial.score) for trial in earlier.trials} == {
        name: (trial.hyperparameters.values, trial.score) for name, trial in completed.items()
    }
    assert len(earlier.left_out) == 6 - len(completed) > 0
    assert all("(failed)" in line for line in earlier.left_out)


def test_a_project_with_cut_files_is_read_as_far_as_it_is_whole(tuner, tmp_path):
    copy = shutil.copytree(tuner.project_dir, tmp_path / "cut")
    (copy / "oracle.json").write_text('{"ongoing')
    first = read_earlier_search(copy, ACCURACY).trials[0]
    with (copy / f"trial_{first.name}" / "trial.json").open("r+") as file:
        file.truncate(90)
    earlier = read_earlier_search(copy, ACCURACY)
    assert first not in earlier.trials
    assert any(f"trial {first.name} (its file is damaged" in line for line in earlier.left_out)
