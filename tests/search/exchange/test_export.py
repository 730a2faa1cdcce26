"""The exported folder: what it holds, what is refused, and what is said. No Keras, no Ray."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from made_up_runs import ACCURACY, Notes, RunWriter, write_every_end, write_final_model

from results.record.columns import State
from results.record.journal import read
from search.cli import app
from search.errors import RunFolderError, SearchError, UsageError
from search.exchange.export import Part, export_run
from search.exchange.importing import import_run

TESTS = Path(__file__).parents[2]
ASSETS = TESTS / "assets" / "version-0.1.0"
CONFIRMATION = TESTS / "search" / "final" / "golden" / "confirmation.json"
EVALUATION = {"test_mse": 0.25, "epochs": 2, "seed": 0, "trial": 1, "values": {"units": 2}}


def export(run, out, *only):
    """Export, and return the lines that the user sees."""
    notes = Notes()
    export_run(run, out, notes, only=only)
    return notes.lines


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def load_study(folder, name):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder / 'study.db'}")


@pytest.fixture
def run(tmp_path):
    """A run with a trial for each state; its best is trial 3."""
    return write_every_end(tmp_path / "run")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


# --- What is written ------------------------------------------------------------------------------


def test_a_run_without_a_final_model_is_exported_without_it(run, out):
    lines = export(run, out)
    assert names(out) == ["best.json", "hyperparameters.json", "study.db"]
    assert "nothing was retrained, so there is no model: `fmnist-search retrain" in lines[0]
    assert [line.split(": ")[0] for line in lines[1:]] == [
        str(out / name) for name in ("best.json", "hyperparameters.json", "study.db")
    ]


def test_a_run_of_version_0_1_0_that_was_cut_off_is_exported_as_far_as_it_came(tmp_path, out):
    run = shutil.copytree(ASSETS / "cut-off", tmp_path / "run")
    export(run, out)
    assert names(out) == ["best.json", "hyperparameters.json", "study.db"]
    assert [trial.state.name for trial in load_study(out, "run").trials] == ["RUNNING", "RUNNING"]


def test_the_best_is_that_of_the_run(run, out):
    [line] = export(run, out, Part.BEST)
    assert json.loads((out / "best.json").read_text()) == json.loads(
        (run / "best.json").read_text()
    )
    assert line == (
        f"{out / 'best.json'}: the best hyperparameters (trial 3, epoch 1, val_accuracy 0.9000)"
    )


def test_the_hyperparameters_are_those_of_the_best_trial(run, out):
    export(run, out, Part.HYPERPARAMETERS)
    written = json.loads((out / "hyperparameters.json").read_text())
    assert written["values"] == {"units": 4, "tuner/round": 0}
    assert [entry["config"]["name"] for entry in written["space"]] == ["units"]


def test_the_study_says_of_which_run_it_is(run, out):
    [line] = export(run, out, Part.STUDY)
    assert line == (
        f"{out / 'study.db'}: the 10 trials for Optuna: "
        f"optuna.load_study(study_name='run', storage='sqlite:///{out / 'study.db'}')"
    )
    version = json.loads((run / "run.json").read_text())["version"]
    assert load_study(out, "run").user_attrs == {
        "objective": "val_accuracy", "best_trial": 3, "ended": "not yet", "fmnist-search": version,
    }  # fmt: skip


def test_the_study_says_why_the_search_ended(tmp_path, out):
    writer = RunWriter(tmp_path / "run")
    writer.trial(0, {"units": 3}, [0.5], State.COMPLETED)
    writer.recorder.search_ended("target reached")
    export(writer.close(), out, Part.STUDY)
    assert load_study(out, "run").user_attrs["ended"] == "target reached"


def test_the_final_model_is_exported_with_its_card(run, out):
    write_final_model(run, EVALUATION)
    model_line, card_line, note = export(run, out, Part.MODEL)
    assert names(out) == ["MODEL_CARD.md", "model.keras"]
    model = out / "model.keras"
    assert model.read_bytes() == (run / "final" / "model.keras").read_bytes()
    assert model_line == (
        f"{model}: the final model, trained for 2 epochs: keras.models.load_model('{model}')"
    )
    assert card_line == f"{out / 'MODEL_CARD.md'}: describes that model, its scores and its limits"
    card = (out / "MODEL_CARD.md").read_text()
    assert "| test mse | 0.2500 |" in card
    assert "earlier final model" not in card
    assert note.startswith("the model is of trial 1, but the best is now trial 3: `fmnist-search")


def test_nothing_is_noted_of_a_model_of_the_best_trial(run, out):
    write_final_model(run, EVALUATION | {"trial": 3})
    assert len(export(run, out, Part.MODEL)) == 2


def test_a_card_says_that_an_earlier_model_was_evaluated(run, out):
    write_final_model(run, EVALUATION)
    (run / "final.previous").mkdir()
    export(run, out, Part.MODEL)
    assert "earlier final model" in (out / "MODEL_CARD.md").read_text()


# --- A confirmed model ----------------------------------------------------------------------------

WINNER = json.loads(CONFIRMATION.read_text())["candidates"][0]
CONFIRMED = EVALUATION | {
    "trial": 17, "values": WINNER["values"], "epochs": 20, "confirmed_seeds": [1, 2, 3],
    "retrain_epochs": [20, 50],
}  # fmt: skip


@pytest.fixture
def confirmed(run):
    """A run with the confirmation of which trial 17 is the winner."""
    (run / "confirm").mkdir()
    shutil.copy(CONFIRMATION, run / "confirm" / "confirmation.json")
    return run


def test_the_card_of_a_winner_describes_its_confirmation(confirmed, out):
    write_final_model(confirmed, CONFIRMED)
    *_, note = export(confirmed, out, Part.MODEL)
    assert note == (
        "the model is of trial 17, which won the confirmation; the best of the search is trial 3"
    )
    assert "It won a confirmation" in (out / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {"values": {"units": 2}},
        {"epochs": 50},
        {"confirmed_seeds": [1, 2]},
        {"confirmed_seeds": []},
    ],
)
def test_a_confirmation_of_another_model_is_not_in_the_card(confirmed, out, changes):
    write_final_model(confirmed, CONFIRMED | changes)
    export(confirmed, out, Part.MODEL)
    assert "It won a confirmation" not in (out / "MODEL_CARD.md").read_text()


def test_a_confirmed_model_is_exported_without_the_record_of_its_confirmation(run, out):
    write_final_model(run, CONFIRMED)
    *_, note = export(run, out, Part.MODEL)
    assert "trial 17, which won the confirmation" in note
    assert "retrain RUN" not in (out / "MODEL_CARD.md").read_text()


# --- Which parts ----------------------------------------------------------------------------------


def test_an_empty_folder_is_filled_with_the_wanted_part_alone(run, out):
    out.mkdir()
    export(run, out, Part.BEST)
    assert names(out) == ["best.json"]


def test_a_model_alone_is_refused_if_there_is_none(run, out):
    with pytest.raises(UsageError, match="nothing was retrained, so there is no model"):
        export(run, out, Part.MODEL)
    assert not out.exists()


@pytest.mark.parametrize("missing", ["model.keras", "evaluation.json"])
def test_a_final_folder_without_one_of_its_files_holds_no_model(run, out, missing):
    write_final_model(run, EVALUATION)
    (run / "final" / missing).unlink()
    assert "there is no model" in export(run, out)[0]


def test_an_imported_run_is_exported_although_it_has_no_space(run, tmp_path, out):
    imported = import_run(str(run), ACCURACY, tmp_path / "imported", Notes()).path
    lines = export(imported, out)
    assert lines[0].endswith("nothing was retrained, so there is no model.")
    written = json.loads((out / "hyperparameters.json").read_text())
    assert written == {"space": [], "values": {"units": 2}}
    params = [trial.params for trial in load_study(out, "imported").trials]
    assert params == [{"units": 2}, {"units": 3}]


# --- What is refused ------------------------------------------------------------------------------


def test_a_target_that_holds_something_is_refused_and_left_as_it_is(run, tmp_path):
    file, folder, link = (tmp_path / name for name in ("file", "folder", "link"))
    file.write_text("mine")
    folder.mkdir()
    shutil.copy(file, folder / "file")
    link.symlink_to(tmp_path / "nowhere")
    for target in (file, folder, link):
        with pytest.raises(RunFolderError, match=r"--out .* exists already: expected a new or an"):
            export(run, target)
    assert [path.read_text() for path in (file, folder / "file")] == ["mine", "mine"]
    assert names(folder) == ["file"]
    assert not (tmp_path / "nowhere").exists()


def test_a_target_below_a_file_is_refused(run, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunFolderError, match=r"is not writable\. Name another folder"):
        export(run, tmp_path / "file" / "out")


def test_a_target_that_cannot_be_made_leaves_nothing(run, tmp_path):
    target = tmp_path / "taken" / ("n" * 255)  # a name as long as a name may be
    with pytest.raises(RunFolderError, match=r"cannot be made .*: nothing is left of it"):
        export(run, target)
    assert list((tmp_path / "taken").iterdir()) == []


def test_a_run_without_a_value_has_no_best_to_export(tmp_path, out):
    writer = RunWriter(tmp_path / "run")
    writer.trial(0, {"units": 3})
    with pytest.raises(UsageError, match=r"no trial has reported val_accuracy yet.*no best"):
        export(writer.close(), out)
    assert not out.exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path, out):
    with pytest.raises(RunFolderError, match=r"does not exist: expected a folder with run\.json"):
        export(tmp_path / "nowhere", out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.keras", b"PK", "cannot be described"),
        ("evaluation.json", b'{"epochs":', "evaluation.json cannot be read"),
        ("evaluation.json", b'{"epochs": 1}', "cannot be described"),
    ],
)
def test_a_final_model_that_is_damaged_leaves_nothing_half_written(
    run, tmp_path, name, content, message
):
    write_final_model(run, EVALUATION)
    (run / "final" / name).write_bytes(content)
    with pytest.raises(SearchError, match=message):
        export(run, tmp_path / "taken" / "out")
    assert list((tmp_path / "taken").iterdir()) == []


# --- Damaged runs ---------------------------------------------------------------------------------


def test_the_journal_stands_in_for_a_damaged_run_file(run, out):
    (run / "run.json").write_text("{")
    export(run, out, Part.HYPERPARAMETERS)
    [parameter] = json.loads((out / "hyperparameters.json").read_text())["space"]
    assert parameter["config"]["name"] == "units"


def test_damaged_lines_of_the_journal_are_named(run, out):
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (run / "journal.jsonl").write_bytes(b"".join([lines[0], b"damaged\n", *lines[2:]]))
    assert export(run, out, Part.BEST)[0] == "journal: skipped damaged line 2"


def test_a_study_needs_the_time_at_which_the_search_started(run, out):
    description = json.loads((run / "run.json").read_text())
    del description["started_at"]
    (run / "run.json").write_text(json.dumps(description))
    with pytest.raises(RunFolderError, match="does not say when the search started"):
        export(run, out, Part.STUDY)


# --- The command ----------------------------------------------------------------------------------


def test_the_command_exports_the_named_parts(run, out, capsys):
    app(["export", str(run), "--out", str(out), "--only", "best"], standalone_mode=False)
    assert names(out) == ["best.json"]
    assert capsys.readouterr().out.startswith(f"{out / 'best.json'}: the best hyperparameters")


def test_a_misspelt_part_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(UsageError) as caught:
        app(["export", str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--only", "studdy"],
            standalone_mode=False)  # fmt: skip
    part, run = str(caught.value).splitlines()
    assert part == (
        "--only 'studdy': expected one of best, hyperparameters, study, model. "
        "Did you mean 'study'?"
    )
    assert "run' does not exist: expected a folder with run.json" in run
    assert caught.value.exit_status == 2


def test_exporting_imports_no_tensorflow(tmp_path):
    code = (
        "import sys; from pathlib import Path; from search.cli import app;"
        f"app(['export', {str(ASSETS / 'finished')!r}, '--out', {str(tmp_path / 'out')!r}],"
        " standalone_mode=False);"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'keras_tuner')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
    events = read(ASSETS / "finished" / "journal.jsonl").events
    assert len(load_study(tmp_path / "out", "finished").trials) == len(
        {event["trial"] for event in events if event["event"] == "trial_started"}
    )
