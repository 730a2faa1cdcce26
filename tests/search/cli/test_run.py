"""What a user's typo is answered with: one clear line a mistake, status 2, nothing made."""

import os
import subprocess

import optuna
import pytest
from in_process import fmnist_results, fmnist_search
from made_up_runs import RunWriter, make_plan

from results.record.columns import State
from search.cli import app
from search.errors import UsageError


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--trails", "3"], ["No such option: --trails (Possible options: --trials)"]),
        (["rum"], ["No such command 'rum'. Did you mean"]),
        (["run", "--space", "wid"], ["--space 'wid': expected one of published, wide. Did you mean 'wide'?"]),
        (["run", "--algorithm", "tep"], ["--algorithm 'tep': expected one of tpe, random. Did you mean 'tpe'?"]),
        (
            ["run", "--trials", "0", "--workers", "0", "--grace-period", "99"],
            [
                "--trials 0: expected 1 or more.",
                "--workers 0: expected 1 or more.",
                "--grace-period 99: expected at most 30, because of --epochs 30.",
            ],
        ),
        (["run", "--tuner", "random"], ["--tuner 'random' needs --engine keras-tuner"]),
        (["run", "--data-dir", "nowhere"], ["--data-dir 'nowhere': expected an existing folder."]),
        (["run", "--epochs", "0"], ["--epochs 0: expected 1 or more."]),
        (["run", "--objective", "quality"], ["add --direction max or --direction min."]),
        (["run", "--hypermodel", "problems:small"], ["needs --data: name a function"]),
        (["run", "--retrain-epochs", "20;50"], ["expected whole numbers such as 20,50,100, or none."]),
        (["run", "--out", "."], ["--out '.' exists already: expected a new folder"]),
        (["run", "--warm-start", "nowhere"], ["--warm-start: 'nowhere' does not exist: expected a keras-tuner project"]),
        (
            ["run", "--engine", "keras-tuner", "--warm-start", "nowhere"],
            ["--warm-start 'nowhere' needs --engine ray", "'nowhere' does not exist"],
        ),
        (
            ["run", "--engine", "keras-tuner", "--no-defaults-first"],
            ["--no-defaults-first needs --engine ray"],
        ),
        (["import", "nowhere"], ["'nowhere' does not exist: expected a keras-tuner project"]),
        (["import", "nowhere", "--direction", "up"], ["--direction 'up': expected max or min."]),
        (["import", "nowhere", "--objective", "quality"], ["add --direction max"]),
        (["retrain", "nowhere"], ["'nowhere' does not exist: expected a folder with run.json"]),
        (
            ["run", "--trials", "many", "--time-budget", "1h", "--workers", "0"],
            [
                "--trials 'many': expected a whole number.",
                "--time-budget '1h': expected a number.",
                "--workers 0: expected 1 or more.",
            ],
        ),
        (
            ["run", "--hypermodel", "small", "--data", "no_such_module:load"],
            [
                "--hypermodel 'small': expected MODULE:NAME",
                "--data 'no_such_module:load': there is no module 'no_such_module'. Run from",
            ],
        ),
        (
            ["run", "--hypermodel", "small", "--data", "no_such_module:load", "--address", "auto", "--trials", "0"],
            ["--hypermodel 'small': expected MODULE:NAME", "--trials 0: expected 1 or more."],
        ),
        (
            ["run", "--objective", "quality", "--hypermodel", "problems:smal", "--data", "problems.load",
             "--workers", "0", "--retrain-epochs", "many"],
            [
                "--retrain-epochs 'many': expected whole numbers",
                "--objective 'quality': its name does not show",
                "--hypermodel 'problems:smal': 'problems' has no 'smal'. Did you mean 'small'?",
                "--data 'problems.load': expected MODULE:NAME",
                "--workers 0: expected 1 or more.",
            ],
        ),
        (
            ["run", "--resources", "problems:no_rule", "--gpus-per-trial", "0.5"],
            ["--resources 'problems:no_rule': 'problems' has no 'no_rule'."],
        ),
        (
            ["doctor", "--hypermodel", "problems:smal", "--data", "problems:nothing", "--direction", "up"],
            ["--direction 'up': expected max or min.", "'problems' has no 'smal'.", "'problems' has no 'nothing'."],
        ),
        (
            ["run", "--engine", "kerastuner", "--tuner", "gird"],
            ["--engine 'kerastuner': expected one of ray, keras-tuner.", "--tuner 'gird': expected one of"],
        ),
        (
            ["retrain", "nowhere", "--retrain-epochs", "many"],
            ["expected whole numbers such as 20,50,100, or none.", "'nowhere' does not exist"],
        ),
        (["resume", "nowhere", "--trials", "0x"], ["expected a whole number.", "'nowhere' does not exist"]),
        (["confirm", "nowhere", "--top", "0"], ["--top 0: expected 1 or more.", "'nowhere' does not exist"]),
        (["audit", "nowhere", "--trials", "0"], ["--trials 0: expected 1 or more.", "'nowhere' does not exist"]),
        (["export", "nowhere", "--out", "x", "--only", "bst"], ["Did you mean 'best'?", "'nowhere' does not exist"]),
        (["audit", "nowhere", "--trials", "many"], ["Invalid value for '--trials'"]),
    ],
)  # fmt: skip
def test_bad_input_gets_a_line_each_and_status_2(tmp_path, arguments, said):
    done = fmnist_search(tmp_path, *arguments)
    assert done.status == 2
    lines = done.errors.splitlines()
    assert len(lines) == len(said), done
    for line, expected in zip(lines, said, strict=True):
        assert line.startswith("error: ")
        assert expected in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["resume", "--trials", "9"], ["retrain", "--retrain-epochs", "1"], ["confirm", "--top", "1"],
        ["audit", "--trials", "1"], ["replay", "1"],
    ],
)  # fmt: skip
def test_a_run_whose_hypermodel_is_gone_is_refused_before_anything_starts(tmp_path, words):
    plan = make_plan(tmp_path / "run", hypermodel="gone:build")
    writer = RunWriter(tmp_path / "run", plan=plan)
    writer.trial(0, {"units": 2}, [0.5, 0.6], State.COMPLETED)
    writer.trial(1, {"units": 3}, [0.4], State.STOPPED)
    writer.close()
    done = fmnist_search(tmp_path, words[0], "run", *words[1:])
    assert (done.status, done.output) == (2, "")
    assert done.errors.startswith("error: --hypermodel 'gone:build': there is no module 'gone'.")


def test_the_command_answers_bad_input_without_importing_tensorflow(commands, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys\n"
        "large = ('tensorflow', 'keras', 'ray')\n"
        "atexit.register(lambda: print([name for name in large if name in sys.modules]))\n"
    )
    done = subprocess.run(
        [commands / "fmnist-search", "run", "--trials", "0", "--epochs", "0"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: --epochs 0: expected 1 or more.",
        "error: --trials 0: expected 1 or more.",
    ]
    assert done.stdout == "[]\n"


def test_a_disk_without_room_is_refused_before_work_starts(tmp_path, mount_disk):
    disk = mount_disk(tmp_path / "disk", "1m")
    done = fmnist_search(tmp_path, "run", "--out", disk / "run")
    assert done.status == 2
    assert "1 MB of disk are free, expected 500 MB or more" in done.errors


@pytest.fixture
def imported(tmp_path):
    """A study of Optuna that was imported as ``runs/old``, and what the import printed."""
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'old.db'}", direction="maximize")
    study.optimize(lambda trial: trial.suggest_int("units", 1, 9) / 10, n_trials=3)
    done = fmnist_search(tmp_path, "import", "old.db")
    assert done.status == 0, done
    return study, done.output


def test_an_import_says_what_was_imported_and_what_to_do_with_it(imported):
    _, output = imported
    assert "old.db (optuna): 3 finished trials, best val_accuracy 0." in output
    assert "fmnist-search run --warm-start runs/old" in output


def test_an_imported_study_is_compared_with_other_runs(imported, tmp_path):
    study, _ = imported
    shown = fmnist_results(tmp_path, "compare", "runs/old")
    assert shown.status == 0, shown
    assert "optuna" in shown.output
    assert f"{study.best_value:.4f}" in shown.output


def test_an_imported_study_cannot_be_retrained_without_its_hypermodel(imported, tmp_path):
    refused = fmnist_search(tmp_path, "retrain", "runs/old")
    assert refused.status == 2
    assert "does not name its hypermodel" in refused.errors


@pytest.mark.parametrize(
    ("words", "patience"), [([], 5), (["--space", "wide"], 0), (["--patience", "3"], 3)]
)
def test_the_published_space_alone_has_a_patience_by_itself(monkeypatch, tmp_path, words, patience):
    def run(plan, view):
        raise UsageError(str(plan.problem.patience))

    monkeypatch.setattr("search.cli.run.run", run)
    with pytest.raises(UsageError, match=f"^{patience}$"):
        app(["run", *words, "--out", str(tmp_path / "run")], standalone_mode=False)


@pytest.mark.parametrize(
    ("words", "warnings"),
    [
        (["--scheduler", "none", "--grace-period", "2"], ["--grace-period 2 has no effect with --scheduler none"]),
        (["--engine", "keras-tuner", "--scheduler", "asha"], ["--scheduler 'asha' has no effect with --engine keras-tuner"]),
        (["--engine", "keras-tuner", "--hung-after", "9"], ["--hung-after 9 has no effect with --engine keras-tuner"]),
        (["--scheduler", "none", "--hung-after", "9"], []),
        (["--grace-period", "2"], []),
    ],
)  # fmt: skip
def test_an_option_without_effect_is_a_warning(monkeypatch, tmp_path, capsys, words, warnings):
    def run(plan, view):
        raise UsageError("enough")

    monkeypatch.setattr("search.cli.run.run", run)
    with pytest.raises(UsageError, match=r"^enough$"):
        app(["run", *words, "--out", str(tmp_path / "run")], standalone_mode=False)
    assert capsys.readouterr().out.splitlines() == [f"warning  {line}" for line in warnings]


def test_debug_shows_the_traceback(tmp_path):
    done = fmnist_search(tmp_path, "retrain", "nowhere", "--debug")
    assert done.status == 2
    assert "Traceback" in done.errors
