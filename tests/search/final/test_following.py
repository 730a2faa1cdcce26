"""The honest winner and the early-stop audit: what they say, what is kept, what is asked badly."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from results.record.audit import Audit, AuditedTrial
from results.record.columns import Decision, State
from results.record.confirmation import Candidate, Confirmation
from results.record.history import EpochRecord, History, Objective, TrialRecord
from results.record.intervals import estimate_mean, estimate_share
from results.record.journal import Journal
from search.cli import app, main
from search.cli.after import hyperparameters_at_defaults
from search.cli.ending import REPEAT_TO_CONTINUE
from search.errors import TrainingError, UsageError
from search.final.audit import sample_stopped, summarize
from search.final.confirm import compare_candidates, distinct_trials, make_candidates
from search.final.follow_up import Outcome, run_follow_up
from search.plan.plan import ConfirmationPlan
from search.session.stopping import INTERRUPTED, TRIALS_DONE
from search.space.parameters import Space
from search.storage.folder import RunFolder
from search.storage.recorder import Recorder

ASSETS = Path(__file__).parents[2] / "assets" / "version-0.1.0"

MAX, MIN = Objective("val_accuracy", "max"), Objective("val_loss", "min")


def ended(number, value, *, state=State.STOPPED, values=None, objective=MAX):
    epoch = EpochRecord(
        number, 1, 1, 1.0, 2.0, value, {objective.name: value}, Decision.STOP, "host:1"
    )
    return TrialRecord(
        number, values or {"units": number}, 0.0, state=state, epochs=[epoch], best=epoch if value is not None else None,
        proposed=values or {"units": number},
    )  # fmt: skip


def history(*trials, objective=MAX):
    made = History(objective)
    made.trials = {trial.trial: trial for trial in trials}
    ranked = made.ranked()
    made.best = ranked[0].best if ranked else None
    return made


def asked(top=2, seeds=3, epochs=(5,), **also):
    return ConfirmationPlan(top, seeds, epochs, also)


def test_the_best_configurations_are_taken_each_once_and_at_each_number_of_epochs():
    same = {"units": 7}
    made = history(
        ended(0, 0.7), ended(1, 0.9, values=same), ended(2, 0.8, values=same), ended(3, 0.6)
    )
    assert [trial.trial for trial in distinct_trials(made)] == [1, 0, 3]
    chosen = make_candidates(made, asked(2, epochs=(5, 9), published={"units": 1}))
    assert [(one.name, one.trial, one.epochs, one.search_value) for one in chosen] == [
        ("trial 1", 1, 5, 0.9), ("trial 1", 1, 9, 0.9), ("trial 0", 0, 5, 0.7), ("trial 0", 0, 9, 0.7),
        ("published", None, 5, None), ("published", None, 9, None),
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"--top 4: only 3 different configurations .* at most 3"):
        make_candidates(made, asked(4))


def confirmed(scores, objective=MAX, *, compared=()):
    chosen = [
        Candidate(name, None if name in compared else place, 5, {"units": place}, 0.99)
        for place, name in enumerate(scores)
    ]
    seeds = range(len(next(iter(scores.values()))))
    made = compare_candidates(chosen, seeds, list(scores.values()), objective)
    return {one.name: one for one in made.candidates}


def test_the_winner_has_the_best_mean_and_others_are_held_against_it_seed_by_seed():
    made = confirmed(
        {"a": [0.90, 0.91, 0.92], "b": [0.91, 0.92, 0.93], "c": [0.909, 0.921, 0.929], "d": [0.80, 0.81, 0.82], "p": [0.94, 0.95, 0.96]},
        compared=("p",),
    )  # fmt: skip
    assert {name: one.verdict for name, one in made.items()} == {
        "a": "worse", "b": "winner", "c": "tie", "d": "worse", "p": "better",
    }  # fmt: skip
    assert made["b"].mean == pytest.approx(0.92)
    assert made["b"].difference is None
    assert made["a"].difference.to_json() == pytest.approx(
        {"mean": -0.01, "low": -0.01, "high": -0.01}
    )
    assert made["c"].difference.low <= 0 <= made["c"].difference.high
    assert made["p"].is_for_comparison


def test_of_an_objective_to_minimize_the_least_mean_wins():
    made = confirmed({"a": [0.5, 0.6], "b": [0.3, 0.4]}, MIN)
    assert (made["a"].verdict, made["b"].verdict) == ("worse", "winner")


def test_a_configuration_that_diverges_on_a_seed_is_no_winner():
    made = confirmed({"a": [0.99, None], "b": [0.5, 0.6]})
    assert made["a"].verdict == "worse"
    assert made["a"].mean is None
    assert made["b"].verdict == "winner"
    with pytest.raises(TrainingError, match="every configuration diverged on some seed"):
        confirmed({"a": [0.99, None]})


def test_intervals_hold_their_means_and_shares_their_whole_range():
    found = estimate_mean([0.1, 0.2, 0.3, 0.4])
    assert found.mean == pytest.approx(0.25)
    assert 0.1 <= found.low < 0.25 < found.high <= 0.4
    assert estimate_mean([0.5, 0.5]).to_json() == {"mean": 0.5, "low": 0.5, "high": 0.5}
    none = estimate_share(0, 10)
    assert (none.mean, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(0.2775, abs=1e-4)  # Wilson: z^2 / (n + z^2)


def test_stopped_trials_are_chosen_at_random_and_the_same_again():
    made = history(
        *(ended(n, n / 100) for n in range(30)),
        ended(30, 0.9, state=State.COMPLETED),
        ended(31, None),
    )
    numbers = [trial.trial for trial in sample_stopped(made, 10, seed=0)]
    assert numbers == [trial.trial for trial in sample_stopped(made, 10, seed=0)]
    assert numbers != [trial.trial for trial in sample_stopped(made, 10, seed=1)]
    assert len(set(numbers)) == 10
    assert set(numbers) <= set(range(30))
    with pytest.raises(UsageError, match=r"--trials 31: only 30 trials of this run were stopped"):
        sample_stopped(made, 31, seed=0)


def test_the_audit_counts_those_that_would_have_won_and_reckons_what_was_saved():
    made = history(*(ended(n, 0.5) for n in range(4)), ended(4, 0.9, state=State.COMPLETED))
    trials = [
        AuditedTrial(n, 1, 0.5, 9, 0.8 + n / 5, "completed", n == 1, n / 5 - 0.1, 1.0, 10.0, True)
        for n in range(2)
    ]
    audit = summarize(trials, made)
    assert (audit.stopped, audit.audited, audit.wrong, audit.wrong_share) == (4, 2, 1, 0.5)
    assert audit.seconds_saved == 40.0
    assert audit.seconds_searched == 10.0
    assert audit.wrong_low < 0.5 < audit.wrong_high


def command(commands, *words, cwd):
    return subprocess.run(
        [commands / "fmnist-search", *words], cwd=cwd, capture_output=True, text=True, timeout=400, check=False
    )  # fmt: skip


@pytest.fixture(scope="module")
def followed_run(tmp_path_factory, commands):
    """A search with both, in one command."""
    folder = tmp_path_factory.mktemp("followed")
    done = command(
        commands, "run", "--hypermodel", "problems:small", "--data", "problems:blobs", "--trials", "8", "--epochs", "6",
        "--retrain-epochs", "2,4", "--confirm", "2", "--seeds", "3", "--audit", "2", "--out", "run", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def read(folder, *parts):
    return json.loads(folder.joinpath("run", *parts).read_text())


def test_one_command_searches_audits_and_confirms(followed_run):
    folder, output = followed_run
    told, evaluation = (
        read(folder, "confirm", "confirmation.json"),
        read(folder, "final", "evaluation.json"),
    )
    assert told["seeds"] == [1, 2, 3]
    assert len(told["candidates"]) == 4
    winner = told["candidates"][told["winner"]]
    assert winner["mean"] == max(row["mean"] for row in told["candidates"])
    tested = [row["name"] for row in told["candidates"] if row["test"]]
    assert tested == [winner["name"]]
    assert len(winner["test"]["accuracies"]) == 3
    assert (evaluation["trial"], evaluation["epochs"]) == (winner["trial"], winner["epochs"])
    assert evaluation["test_accuracy"] == winner["test"]["accuracies"][0]
    assert evaluation["confirmed_seeds"] == [1, 2, 3]
    rows = pq.read_table(folder / "run" / "final" / "history.parquet").to_pylist()
    assert rows[-1]["metric:val_accuracy"] == winner["scores"][0]
    assert not list((folder / "run" / "confirm").glob("*.keras"))
    assert not list((folder / "run" / "checkpoints").glob("retraining-*"))
    audited = read(folder, "audit", "audit.json")
    assert audited["audited"] == 2
    assert all(row["is_same"] for row in audited["trials"])
    assert all(row["value"] >= row["stopped_value"] for row in audited["trials"])
    assert "in the search it had" in output
    assert "audited trials would have beaten the best of the search" in output


def test_a_stopped_trial_that_cannot_be_trained_again_is_not_counted_as_rightly_stopped(
    followed_run, tmp_path, commands, monkeypatch
):
    shutil.copytree(followed_run[0] / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "audit")
    words = ("audit", "run", "--trials", "1")
    monkeypatch.setenv("SMALL_FAILS", "yes")
    failed = command(commands, *words, cwd=tmp_path)
    assert (failed.returncode, "(failed: ValueError: no memory for it)" in failed.stderr) == (1, True)  # fmt: skip
    assert not list((tmp_path / "run" / "audit").iterdir())
    monkeypatch.delenv("SMALL_FAILS")
    done = command(commands, *words, cwd=tmp_path)
    assert (done.returncode, "of 1 audited trials would have" in done.stdout) == (0, True)


def test_another_configuration_stands_beside_them_and_more_seeds_go_on_from_what_is_there(
    followed_run, tmp_path, commands
):
    shutil.copytree(followed_run[0] / "run", tmp_path / "run")
    (tmp_path / "mine.json").write_text('{"units": 2, "rate": 0.001}')
    done = command(
        commands, "confirm", "run", "--top", "1", "--seeds", "4", "--retrain-epochs", "4", "--also", "mine.json",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "5 of 5: " in done.stdout  # one more seed of its own, and four of the other
    assert "this replaces the confirmation of 4 candidates on 3 seeds" in done.stdout
    told = read(tmp_path, "confirm", "confirmation.json")
    mine = next(row for row in told["candidates"] if row["name"] == "mine")
    assert mine["is_for_comparison"]
    assert len(mine["test"]["accuracies"]) == 4


def test_a_confirmation_that_is_killed_goes_on_with_what_is_left(tmp_path, commands):
    search = command(
        commands, "run", "--hypermodel", "problems:slow", "--data", "problems:blobs", "--trials", "2", "--epochs", "2",
        "--retrain-epochs", "none", "--out", "run", cwd=tmp_path,
    )  # fmt: skip
    assert search.returncode == 0, search.stderr
    words = ["confirm", "run", "--top", "2", "--seeds", "3", "--retrain-epochs", "3"]
    first = subprocess.Popen(
        [commands / "fmnist-search", *words], cwd=tmp_path, stdout=subprocess.DEVNULL, start_new_session=True
    )  # fmt: skip
    kept = tmp_path / "run" / "confirm"
    deadline = time.monotonic() + 200
    while len(list(kept.glob("*-seed-*.json"))) < 2:
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    there = {path: path.stat().st_mtime_ns for path in kept.glob("*-seed-*.json")}
    done = command(commands, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    left = 6 - len(there)
    assert f"{left} of {left}: " in done.stdout
    told = read(tmp_path, "confirm", "confirmation.json")
    winner = told["candidates"][told["winner"]]["name"]
    for path, written in there.items():  # the winner's have been evaluated since
        if json.loads(path.read_text())["test"] is None:
            assert path.stat().st_mtime_ns == written
    assert winner in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--confirm", "9", "--trials", "5"], ["--confirm 9: expected at most 5, because of --trials 5."]),
        (["run", "--confirm", "2", "--seeds", "1"], ["--seeds 1: expected 2 or more, because one seed shows no spread."]),
        (["run", "--seeds", "3"], ["--seeds 3 needs --confirm: add it."]),
        (["run", "--confirm", "2", "--retrain-epochs", "none"], ["--retrain-epochs none: a confirmation needs numbers of epochs, such as 20,50."]),
        (["run", "--audit", "3", "--scheduler", "none"], ["--audit 3 needs --scheduler asha: it audits stopped trials."]),
        (["run", "--audit", "0", "--confirm", "0"], ["--audit 0: expected 1 or more.", "--confirm 0: expected 1 or more."]),
        (["confirm", "{run}", "--top", "99"], ["--top 99: only 8 different configurations have reported a value: expected at most 8."]),
        (["confirm", "{run}", "--seeds", "1"], ["--seeds 1: expected 2 or more, because one seed shows no spread."]),
        (["confirm", "{run}", "--top", "0", "--retrain-epochs", "2;4"], ["--retrain-epochs '2;4': expected whole numbers such as 20,50,100, or none.", "--top 0: expected 1 or more."]),
        (["audit", "{run}", "--trials", "0"], ["--trials 0: expected 1 or more."]),
        (["run", "--engine", "keras-tuner", "--audit", "3"], ["--audit 3 needs --engine ray: --engine keras-tuner has no stopped trials to audit."]),
        (["resume", "plain", "--seeds", "7"], ["--seeds 7 needs --confirm: add it."]),
        (
            ["confirm", "{run}", "--seeds", "1", "--also", "misspelt.json", "--also", "nothing.json"],
            [
                "--also 'nothing.json': expected a JSON file of names and values, such as the best.json of a run.",
                "--seeds 1: expected 2 or more, because one seed shows no spread.",
                "--also 'misspelt.json': 'unitz' is not a hyperparameter of this run: expected one of units, rate. Did you mean 'units'?",
                "--also 'misspelt.json': 'depth' is not a hyperparameter of this run: expected one of units, rate.",
            ],
        ),
        (
            ["confirm", "nowhere", "--top", "0", "--also", "misspelt.json"],
            ["--top 0: expected 1 or more.", "'nowhere' does not exist: expected a folder with run.json, as `fmnist-search run` makes it."],
        ),
        (["confirm", "{run}", "--also", "nothing.json"], ["--also 'nothing.json': expected a JSON file of names and values, such as the best.json of a run."]),
    ],
)  # fmt: skip
def test_what_is_asked_badly_is_said_in_a_line_each(
    followed_run, tmp_path, monkeypatch, capsys, words, said
):
    (tmp_path / "misspelt.json").write_text('{"unitz": 3, "depth": 1, "tuner/epochs": 2}')
    shutil.copytree(ASSETS / "finished", tmp_path / "plain")  # its plan has no confirmation
    run = str(followed_run[0] / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fmnist-search", *(word.format(run=run) for word in words)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == [f"error: {line}" for line in said]


def test_files_to_compare_are_named_by_what_differs_and_their_defaults_are_told(
    followed_run, tmp_path, monkeypatch, capsys
):
    heard = []

    def confirm_run(path, asked, view, *, address):
        heard.append(asked)
        return Outcome(RunFolder(path), TRIALS_DONE, history(ended(0, 0.7)))

    monkeypatch.setattr("search.cli.after.confirm_run", confirm_run)
    given = {"x/a/best.json": 2, "y/a/best.json": 3, "x/b/best.json": 4, "mine.json": 5}
    for name, units in given.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps({"values": {"units": units, "rate": 0.1}}))
    (tmp_path / "some.json").write_text('{"units": 6}')
    monkeypatch.chdir(tmp_path)
    files = [*given, "some.json", "x/../mine.json"]
    words = [word for file in files for word in ("--also", file)]
    app(["confirm", str(followed_run[0] / "run"), *words], standalone_mode=False)
    assert {name: values["units"] for name, values in heard[0].also.items()} == {
        "x/a/best": 2, "y/a/best": 3, "b/best": 4, "mine": 5, "some": 6,
    }  # fmt: skip
    told = [line for line in capsys.readouterr().out.splitlines() if "defaults" in line]
    assert len(told) == 1
    assert "some.json leaves these hyperparameters at their defaults: rate=0.01" in told[0]


def test_only_what_an_active_hyperparameter_is_left_to_is_told():
    rows = [
        ("deep", [], [False, True], False),
        ("depth", [{"parent": "deep", "values": [True]}], [2, 3], 2),
        ("width", [{"parent": "deep", "values": [False]}], [4, 5], 4),
        ("kind", [], ["mlp"], "mlp"),
    ]
    space = Space.from_json(
        [
            {"name": name, "kind": "Choice", "default": default, "conditions": conditions, "choices": choices}
            for name, conditions, choices, default in rows
        ]
    )  # fmt: skip
    assert hyperparameters_at_defaults({"deep": True}, space) == ["depth=2"]
    assert hyperparameters_at_defaults({"deep": True, "depth": 3}, space) == []


@pytest.fixture
def cut_off_run(followed_run, tmp_path, monkeypatch):
    """A run whose search was interrupted, followed without Ray: nothing is trained."""

    def start_follow_up(plan, what, outcome, view, *, description):
        return run_follow_up(plan, what, SimpleNamespace(content=None), outcome, view)

    monkeypatch.setattr("search.final.follow_up.start_follow_up", start_follow_up)
    monkeypatch.setattr("search.final.follow_up._share", lambda plan: None)
    run = shutil.copytree(followed_run[0] / "run", tmp_path / "run")
    journal = Journal(run / "journal.jsonl")
    Recorder(journal, History(MAX), clock=lambda: 99.0).search_ended(INTERRUPTED)
    journal.close()
    return run


@pytest.mark.parametrize("name", ["audit", "confirm"])
def test_what_follows_an_interrupted_search_ends_well_or_is_interrupted_itself(
    cut_off_run, monkeypatch, capsys, name
):
    kind, file = {
        "audit": (Audit, "audit/audit.json"),
        "confirm": (Confirmation, "confirm/confirmation.json"),
    }[name]
    made = kind.read(cut_off_run / file)
    words = {"audit": ["--trials", "2"], "confirm": ["--top", "2"]}[name]

    def interrupted(*_words, **_how):
        raise KeyboardInterrupt

    for work, status, said, unsaid in (
        (
            lambda *_words, **_how: made,
            None,
            "for a report: fmnist-results report",
            REPEAT_TO_CONTINUE,
        ),
        (interrupted, 130, REPEAT_TO_CONTINUE, "for a report"),
    ):
        monkeypatch.setattr(f"search.final.follow_up.{name}", work)
        assert app([name, str(cut_off_run), *words], standalone_mode=False) == status
        output = capsys.readouterr().out
        assert said in output
        assert unsaid not in output
        assert "fmnist-search resume" not in output


def test_the_card_of_a_confirmed_model_names_the_confirmation(followed_run, tmp_path, commands):
    done = command(
        commands, "export", str(followed_run[0] / "run"), "--only", "model", "--out", "taken", cwd=tmp_path
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "taken" / "MODEL_CARD.md").read_text()
    again = "`fmnist-search confirm RUN --top 2 --seeds 3 --retrain-epochs 2,4`"
    assert f"It won a confirmation on 3 new seeds: {again}" in card
    assert "| epochs to choose from | 2, 4 |" in card
    assert "fmnist-search retrain" not in card + done.stdout


def test_a_run_without_stopped_trials_has_nothing_to_audit(followed_run, tmp_path, commands):
    done = command(
        commands, "run", "--hypermodel", "problems:small", "--data", "problems:blobs", "--trials", "2", "--epochs", "1",
        "--retrain-epochs", "none", "--audit", "2", "--out", "run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--audit 2: only 0 trials were stopped" in done.stdout
    refused = command(commands, "audit", "run", "--trials", "1", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == (
        "error: this run has no stopped trial to audit: expected a run of which --scheduler asha has stopped trials.\n"
    )
    assert not (tmp_path / "run" / "audit").exists()
