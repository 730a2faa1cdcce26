"""Earlier searches: reading them, and fitting their trials to the space of today. No Keras, no Ray."""

import json
import math

import optuna
import pytest
from made_up_runs import ACCURACY, RunWriter, write_every_end

from results.record.columns import State
from results.record.history import Objective
from search.errors import UsageError
from search.session.warm_start import (
    EarlierSearch,
    EarlierTrial,
    fit_to_space,
    fit_values,
    read_earlier_search,
    read_warm_start,
    user_values,
)
from search.space.parameters import Condition, Kind, Parameter, Space

LOSS = Objective("val_loss", "min")


def trials(earlier):
    return [(trial.name, trial.values, trial.score) for trial in earlier.trials]


def test_no_source_is_no_earlier_search():
    assert read_warm_start(None, ACCURACY) is None


# --- A keras-tuner project ------------------------------------------------------------------------


def write_trial(project, name, values, observations, status="COMPLETED", metric="val_accuracy"):
    """Write the file of a trial; ``observations``: the values of the executions, by step."""
    state = {
        "hyperparameters": {"values": values},
        "status": status,
        "metrics": {
            "metrics": {
                metric: {
                    "direction": "max",
                    "observations": [
                        {"value": executions, "step": step}
                        for step, executions in enumerate(observations)
                    ],
                }
            }
        },
    }
    folder = project / f"trial_{name}"
    folder.mkdir(parents=True)
    (folder / "trial.json").write_text(json.dumps(state))


def test_the_completed_trials_of_a_project_are_read(tmp_path):
    write_trial(tmp_path, "0", {"units": 3}, [[0.5]])
    write_trial(tmp_path, "1", {"units": 4, "tuner/round": 1}, [[0.6]])
    write_trial(tmp_path, "2", {"units": 5}, [], status="FAILED")
    earlier = read_earlier_search(tmp_path, ACCURACY)
    assert (earlier.source, earlier.kind) == (str(tmp_path), "keras-tuner")
    assert trials(earlier) == [("0", {"units": 3}, 0.5), ("1", {"units": 4}, 0.6)]
    assert earlier.left_out == ("trial 2 (failed)",)


@pytest.mark.parametrize(("objective", "score"), [(ACCURACY, 0.5), (LOSS, 0.25)])
def test_the_score_is_the_best_mean_of_the_executions(tmp_path, objective, score):
    observations = [[0.1, 0.9], [0.2, 0.3], [math.nan, 0.9]]
    write_trial(tmp_path, "0", {"units": 3}, observations, metric=objective.name)
    [trial] = read_earlier_search(tmp_path, objective).trials
    assert trial.score == score


def test_a_trial_without_a_number_is_left_out(tmp_path):
    write_trial(tmp_path, "0", {"units": 3}, [[math.nan]])
    write_trial(tmp_path, "1", {"units": 4}, [[0.5]])
    earlier = read_earlier_search(tmp_path, ACCURACY)
    assert earlier.left_out == ("trial 0 (its val_accuracy is no number)",)


def test_a_trial_of_an_early_round_of_hyperband_has_not_finished(tmp_path):
    for name, epochs in (("0", 2), ("1", 2), ("2", 6)):
        write_trial(tmp_path, name, {"units": 3, "tuner/epochs": epochs}, [[0.1, 0.9]])
    earlier = read_earlier_search(tmp_path, ACCURACY)
    assert trials(earlier) == [("2", {"units": 3}, 0.5)]
    assert earlier.left_out == ("trial 0 (2 epochs only)", "trial 1 (2 epochs only)")


@pytest.mark.parametrize("content", ['{"hyperparam', "{}", "[1]", '{"hyperparameters": {}}'])
def test_a_damaged_trial_is_named(tmp_path, content):
    write_trial(tmp_path, "0", {"units": 3}, [[0.5]])
    write_trial(tmp_path, "1", {"units": 4}, [[0.5]])
    (tmp_path / "trial_1" / "trial.json").write_text(content)
    earlier = read_earlier_search(tmp_path, ACCURACY)
    assert [trial.name for trial in earlier.trials] == ["0"]
    [line] = earlier.left_out
    assert line.startswith("trial 1 (its file is damaged: ")


def test_an_objective_that_was_not_reported_is_named(tmp_path):
    write_trial(tmp_path, "0", {"units": 3}, [[0.5]])
    with pytest.raises(
        UsageError, match=r"no finished trial with val_auc: trial 0 reports val_accuracy, not val_"
    ):
        read_earlier_search(tmp_path, Objective("val_auc", "max"))


def test_a_project_without_trials_is_refused(tmp_path):
    (tmp_path / "oracle.json").write_text("{}")
    with pytest.raises(UsageError, match=r"no finished trial with val_accuracy: it has no trials"):
        read_earlier_search(tmp_path, ACCURACY)


def test_the_first_three_reasons_are_given_if_no_trial_has_finished(tmp_path):
    for name in "0123":
        write_trial(tmp_path, name, {"units": 3}, [], status="RUNNING")
    with pytest.raises(UsageError) as caught:
        read_earlier_search(tmp_path, ACCURACY)
    assert "trial 0 (running); trial 1 (running); trial 2 (running). Name" in str(caught.value)


# --- An Optuna study ------------------------------------------------------------------------------


def add_study(storage, name="one", direction="maximize"):
    """Make a study of two finished trials and one that still runs."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=storage, study_name=name, direction=direction)
    for units in (3, 5):
        distributions = {"units": optuna.distributions.IntDistribution(1, 9)}
        study.add_trial(
            optuna.trial.create_trial(
                params={"units": units}, distributions=distributions, value=units / 10
            )
        )
    study.ask()


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory):
    file = tmp_path_factory.mktemp("studies") / "study.db"
    add_study(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    """A journal file with two studies."""
    file = tmp_path_factory.mktemp("studies") / "study.log"
    backend = optuna.storages.journal.JournalFileBackend(str(file))
    storage = optuna.storages.JournalStorage(backend)
    for name in ("one", "two"):
        add_study(storage, name)
    return file


@pytest.mark.parametrize(
    "source", ["{sqlite}", "sqlite:///{sqlite}", "{sqlite}::one", "{journal}::two"]
)
def test_a_study_is_read_from_a_file_or_a_url(sqlite, journal, source):
    source = source.format(sqlite=sqlite, journal=journal)
    earlier = read_earlier_search(source, ACCURACY)
    assert (earlier.source, earlier.kind) == (source, "optuna")
    assert trials(earlier) == [("0", {"units": 3}, 0.3), ("1", {"units": 5}, 0.5)]
    assert earlier.left_out == ("trial 2 (running)",)


def test_one_of_several_studies_must_be_named(journal):
    with pytest.raises(UsageError, match=r"holds these studies: one, two\. Name one of them as"):
        read_earlier_search(journal, ACCURACY)


def test_a_study_that_is_not_there_is_refused_with_the_nearest(sqlite):
    with pytest.raises(UsageError, match=r"holds these studies: one\. .*Did you mean 'one'\?"):
        read_earlier_search(f"{sqlite}::onne", ACCURACY)


def test_a_study_of_the_other_direction_is_refused(sqlite):
    with pytest.raises(UsageError, match=r"has the direction max, but val_loss has min"):
        read_earlier_search(sqlite, LOSS)


def test_a_study_of_several_objectives_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(storage=url, directions=["maximize", "minimize"])
    with pytest.raises(
        UsageError, match=r"has the direction max and min, but val_accuracy has max"
    ):
        read_earlier_search(url, ACCURACY)


def test_a_url_without_a_file_makes_none(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read_earlier_search(f"sqlite:///{tmp_path / 'typo.db'}", ACCURACY)
    assert list(tmp_path.iterdir()) == []


# --- A run folder ---------------------------------------------------------------------------------


def test_the_finished_trials_of_a_run_are_read(tmp_path):
    earlier = read_earlier_search(write_every_end(tmp_path / "run"), ACCURACY)
    assert earlier.kind == "fmnist-search"
    assert trials(earlier) == [("1", {"units": 2}, 0.7), ("2", {"units": 3}, 0.4)]
    assert earlier.left_out[:3] == (
        "trial 3 (stopped by ASHA)",
        "trial 4 (interrupted)",
        "trial 5 (diverged)",
    )
    assert len(earlier.left_out) == 8


def test_a_completed_trial_without_a_value_is_left_out(tmp_path):
    writer = RunWriter(tmp_path / "run")
    writer.trial(0, {"units": 2}, [], State.COMPLETED)
    writer.trial(1, {"units": 3}, [0.5], State.COMPLETED)
    earlier = read_earlier_search(writer.close(), ACCURACY)
    assert earlier.left_out == ("trial 0 (completed)",)


@pytest.mark.parametrize("objective", [LOSS, Objective("val_accuracy", "min")])
def test_a_run_of_another_objective_is_refused(tmp_path, objective):
    path = write_every_end(tmp_path / "run")
    with pytest.raises(
        UsageError,
        match=rf"was searched for val_accuracy \(max\), not for {objective.name} \(min\)",
    ):
        read_earlier_search(path, objective)


def test_damaged_lines_of_a_run_are_named(tmp_path):
    path = write_every_end(tmp_path / "run")
    lines = (path / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (path / "journal.jsonl").write_bytes(b"".join([lines[0], b"damaged\n", *lines[1:]]))
    assert read_earlier_search(path, ACCURACY).left_out[0] == "damaged lines of its journal: [2]"


# --- Other files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"not a study", b"SQLite format 3\x00 and no more"])
def test_a_file_that_is_no_study_is_refused_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "something"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"cannot be read as an Optuna study|holds these studies"):
        read_earlier_search(path, ACCURACY)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("name", "problem"), [("nowhere", "does not exist"), (".", "is not an earlier search")]
)
def test_a_path_without_a_search_is_refused(tmp_path, name, problem):
    with pytest.raises(UsageError, match=rf"{problem}: expected a keras-tuner project folder, an"):
        read_earlier_search(tmp_path / name, ACCURACY)


# --- Fitting to a space ---------------------------------------------------------------------------

SPACE = Space(
    (
        Parameter("units", Kind.INT, 4, low=2, high=10, step=2),
        Parameter("kind", Kind.CHOICE, "a", choices=("a", "b")),
        Parameter(
            "rate", Kind.FLOAT, 1e-2, (Condition("kind", ("b",)),), low=1e-3, high=1e-1,
            sampling="log",
        ),
    )
)  # fmt: skip


@pytest.mark.parametrize(
    ("values", "fitting"),
    [
        ({"units": 6, "kind": "a"}, {"units": 6, "kind": "a"}),
        ({"units": 2, "kind": "a"}, {"units": 2, "kind": "a"}),
        ({"units": 10, "kind": "a"}, {"units": 10, "kind": "a"}),
        ({"units": 6, "kind": "a", "rate": 0.05}, {"units": 6, "kind": "a"}),  # not active
        (
            {"units": 6, "kind": "b", "momentum": 0.5, "rate": 0.05},
            {"units": 6, "kind": "b", "rate": 0.05},
        ),
        ({"kind": "b"}, {"units": 4, "kind": "b", "rate": 0.01}),
        ({"units": 6.0, "kind": "a"}, {"units": 6, "kind": "a"}),
        ({"units": 6.0000001, "kind": "a"}, {"units": 6, "kind": "a"}),
    ],
)
def test_values_fit_a_space_with_the_defaults_of_missing_ones(values, fitting):
    fitted = fit_values(values, SPACE)
    assert fitted == fitting
    assert [type(value) for value in fitted.values()] == [type(v) for v in fitting.values()]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"units": 12}, "units=12, expected 2 to 10"),
        ({"units": 1}, "units=1, expected 2 to 10"),
        ({"units": 5}, r"units=5 is off its grid \(step 2\)"),
        ({"units": "many"}, "units='many', expected 2 to 10"),
        ({"units": None}, "units=None, expected 2 to 10"),
        ({"kind": "c"}, r"kind='c', expected one of \('a', 'b'\)"),
        ({"kind": "b", "rate": 0.5}, "rate=0.5, expected 0.001 to 0.1"),
    ],
)
def test_values_outside_a_space_do_not_fit(values, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        fit_values(values, SPACE)


def test_a_default_off_the_grid_fits():
    space = Space((Parameter("units", Kind.INT, 5, low=2, high=10, step=2),))
    assert fit_values({"units": 5}, space) == fit_values({}, space) == {"units": 5}
    with pytest.raises(ValueError, match="off its grid"):
        fit_values({"units": 7}, space)


def test_a_number_becomes_the_choice_that_it_equals():
    space = Space((Parameter("is_deep", Kind.BOOLEAN, False, choices=(False, True)),))
    assert fit_values({"is_deep": 1}, space)["is_deep"] is True


def test_of_one_name_in_two_scopes_the_active_one_holds():
    sizes = [
        Parameter(
            "size", Kind.INT, low, (Condition("kind", (kind,)),), low=low, high=low + 9, step=1
        )
        for kind, low in (("a", 10), ("b", 30))
    ]
    space = Space((SPACE.parameters[1], *sizes))
    assert fit_values({"kind": "b", "size": 33}, space) == {"kind": "b", "size": 33}
    with pytest.raises(ValueError, match="size=33, expected 10 to 19"):
        fit_values({"kind": "a", "size": 33}, space)


def test_a_search_is_fitted_trial_by_trial_and_the_rest_is_named():
    rows = [
        {"units": 6, "kind": "a"},
        {"units": 4, "kind": "b", "momentum": 0.5, "decay": 0.1, "rate": 0.05},
        {"units": 12, "kind": "a", "momentum": 0.9},
    ]
    trials = tuple(EarlierTrial(str(n), values, n / 10) for n, values in enumerate(rows))
    fitting, notes = fit_to_space(EarlierSearch("old", "keras-tuner", trials, ()), SPACE)
    assert fitting == [
        EarlierTrial("0", {"units": 6, "kind": "a"}, 0.0),
        EarlierTrial("1", {"units": 4, "kind": "b", "rate": 0.05}, 0.1),
    ]
    assert notes == [
        "old: parameters unknown to this space are left out: 'momentum', 'decay'",
        "old, trial 2 is left out: units=12, expected 2 to 10",
    ]


def test_a_search_that_fits_has_no_notes():
    trials = (EarlierTrial("0", {"units": 6, "kind": "a"}, 0.5),)
    earlier = EarlierSearch("old", "optuna", trials, ())
    assert fit_to_space(earlier, SPACE) == (list(trials), [])


def test_the_values_of_an_oracle_are_not_those_of_the_user():
    assert user_values({"units": 3, "tuner/epochs": 2}) == {"units": 3}
