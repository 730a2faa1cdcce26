"""A run of real training, exported: each file is opened by the tool that it is for."""

import json
import warnings

import keras
import keras_tuner as kt
import optuna
import pyarrow.parquet as pq
import pytest
from made_up_runs import Notes

from results.record.columns import Ending, State
from search.exchange.export import export_run
from search.session.run_file import read_run
from search.storage.folder import RunFolder
from search.worker.data import load_data


@pytest.fixture(scope="module")
def exported(real_run, tmp_path_factory):
    """The run, the folder that was made of it, and the lines that the user saw."""
    out = tmp_path_factory.mktemp("exported") / "out"
    notes = Notes()
    export_run(real_run[0], out, notes)
    return real_run[0], out, notes.lines


@pytest.fixture(scope="module")
def study(exported):
    run, out, _ = exported
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.load_study(study_name=run.name, storage=f"sqlite:///{out / 'study.db'}")


def test_each_file_has_a_line(exported):
    _, out, lines = exported
    names = ["best.json", "hyperparameters.json", "study.db", "model.keras", "MODEL_CARD.md"]
    assert [line.split(": ")[0] for line in lines] == [str(out / name) for name in names]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    assert list(out.parent.iterdir()) == [out]


def test_the_lines_that_are_shown_work(exported):
    run, out, lines = exported
    _, config, stored, model, _ = (line.split(": ", 1)[1] for line in lines)
    best = json.loads((run / "best.json").read_text())
    assert json.loads((out / "best.json").read_text()) == best
    names = {"keras_tuner": kt, "keras": keras, "json": json, "optuna": optuna}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the line leaves its file open
        hp = eval(config.split("hp = ")[1], names)
    assert hp.values == best["values"]
    assert eval(stored.split(": ", 1)[1], names).user_attrs["best_trial"] == best["trial"]
    assert eval(model.split(": ", 1)[1], names).count_params() > 0


def test_the_study_of_a_real_run_equals_its_tables(exported, study):
    run, _, _ = exported
    trials = pq.read_table(run / "trials.parquet").to_pylist()
    epochs = pq.read_table(run / "epochs.parquet").to_pylist()
    states = {State.COMPLETED: "COMPLETE", State.STOPPED: "PRUNED"}
    assert len(study.trials) == len(trials) == 6
    for theirs, row in zip(study.trials, trials, strict=True):
        assert theirs.number == theirs.user_attrs["trial"] == row["trial"]
        assert theirs.state.name == states[row["state"]]
        assert theirs.user_attrs["ended"] == str(Ending.read(row["state"], row["scheduler"]))
        assert (theirs.value, theirs.user_attrs["best_epoch"]) == (
            row["best_objective"],
            row["best_epoch"],
        )
        own_epochs = [epoch for epoch in epochs if epoch["trial"] == row["trial"]]
        assert theirs.intermediate_values == {e["epoch"]: e["objective"] for e in own_epochs}
        values = {name[3:]: value for name, value in row.items() if name.startswith("hp:")}
        assert theirs.params == {n: value for n, value in values.items() if value is not None}
        lasted = (theirs.datetime_complete - theirs.datetime_start).total_seconds()
        assert lasted == pytest.approx(row["ended_seconds"] - row["started_seconds"], abs=0.002)
    complete = [row for row in trials if row["state"] == State.COMPLETED]
    assert study.best_value == max(row["best_objective"] for row in complete)


def test_optuna_draws_its_pictures_of_a_real_run(study):
    timeline = optuna.visualization.plot_timeline(study)
    assert sum(len(bar.y) for bar in timeline.data) == 6
    curves = optuna.visualization.plot_intermediate_values(study)
    assert len(curves.data) == 6


def test_optuna_ranks_the_hyperparameters_of_a_real_run(study):
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says of so few trials that they are few
        importances = optuna.importance.get_param_importances(study, evaluator=evaluator)
    assert {"neurons", "dropout"} <= set(importances)


def test_keras_loads_the_model_of_a_real_run_with_its_recorded_scores(exported):
    run, out, _ = exported
    recorded = json.loads((run / "final" / "evaluation.json").read_text())
    data = load_data(read_run(RunFolder.open(run)).problem, needs_test=True)
    model = keras.models.load_model(out / "model.keras")
    scores = model.evaluate(*data.test, batch_size=512, verbose=0, return_dict=True)
    # Two pictures of 10,000: another number of threads adds up in another order.
    assert scores["accuracy"] == pytest.approx(recorded["test_accuracy"], abs=2e-4)
    assert scores["loss"] == pytest.approx(recorded["test_loss"], abs=1e-4)


@pytest.fixture(scope="module")
def card(exported):
    return (exported[1] / "MODEL_CARD.md").read_text()


def test_the_card_of_a_real_run_states_its_scores_and_values(exported, card):
    recorded = json.loads((exported[0] / "final" / "evaluation.json").read_text())
    for name in ("test_accuracy", "precision_macro", "recall_macro", "validation_accuracy"):
        assert f" | {recorded[name]:.4f} |" in card
    for row in recorded["per_class"]:
        assert f"| {row['name']} | {row['precision']:.4f} | {row['recall']:.4f} |" in card
    for name, value in recorded["values"].items():
        assert f"| {name} | {value} |" in card
    assert f"retrained it for {recorded['epochs']} epochs" in card


def test_the_card_of_a_real_run_states_its_origin(exported, card):
    description = json.loads((exported[0] / "run.json").read_text())
    for words in (
        "the test split, 10,000 examples",
        "an array of shape (n, 28, 28)",
        f"digest `{description['data_digest']}`",
        f"tensorflow {description['versions']['tensorflow']}",
        "fmnist-search run --space wide --trials 6",
        description["started_at"],
        description["machine"]["system"],
    ):
        assert words in card
    assert "custom objects" not in card


def test_the_code_in_the_card_of_a_real_run_compiles(card):
    code = card.split("```python\n")[1].split("```")[0]
    compile(code, "MODEL_CARD.md", "exec")
