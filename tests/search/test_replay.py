"""A trial trained again from its record, and compared with it."""

import json
import shutil
from pathlib import Path

import pytest

from results.record import journal
from results.record.journal import read
from search.errors import UsageError
from search.replay import replay
from search.view.view import SilentView

ASSET = Path(__file__).parents[1] / "assets" / "version-0.1.0"


@pytest.fixture
def run(tmp_path):
    """A finished run."""
    return shutil.copytree(ASSET / "finished", tmp_path / "run")


def rewrite_plan(run, **problem):
    content = json.loads((run / "run.json").read_text())
    content["plan"]["problem"] |= problem
    (run / "run.json").write_text(json.dumps(content))


def test_a_replay_tells_the_first_figure_that_differs(run):
    events = [dict(event) for event in read(run / "journal.jsonl").events]
    changed = next(
        e for e in events if e["event"] == "epoch" and (e["trial"], e["epoch"]) == (0, 1)
    )
    was = changed["metrics"]["val_loss"]
    changed["metrics"]["val_loss"] = was + 0.5
    (run / "journal.jsonl").write_bytes(b"".join(journal.encode(event) for event in events))
    replayed = replay(run, 0, SilentView(None))
    assert not replayed.is_identical
    assert {difference.epoch for difference in replayed.differences} == {1}
    # On another kind of machine than the one that wrote it, the last digits of others differ too.
    differences = {one.metric: one for one in replayed.differences}
    loss = differences.pop("val_loss")
    assert loss.recorded == was + 0.5
    assert loss.replayed == pytest.approx(was, abs=1e-3)
    for other in differences.values():
        assert other.replayed == pytest.approx(other.recorded, abs=1e-3)


def test_a_trial_that_the_run_does_not_have_is_named(run):
    with pytest.raises(UsageError, match="has no trial 9: expected one of 0 to 3"):
        replay(run, 9, SilentView(None))


def test_a_run_of_a_script_cannot_be_replayed(run):
    rewrite_plan(run, hypermodel=None)
    with pytest.raises(UsageError, match=r"does not name its hypermodel, since a script"):
        replay(run, 0, SilentView(None))


def test_other_data_than_those_of_the_run_are_refused(run):
    content = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(content | {"data_digest": "another"}))
    with pytest.raises(UsageError, match=r"the data have changed since .* expected digest another"):
        replay(run, 0, SilentView(None))
