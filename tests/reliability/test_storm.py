"""What is left of a search whose processes are killed: the short form; the long one is `storm.py`."""

import pytest
import storm as storms

from results.record.columns import State
from search.replay import replay
from search.storage.folder import RunFolder
from search.view.view import SilentView


def check(survived):
    """Hold what is promised of every storm."""
    print(*survived.kills, sep="\n")
    assert survived.trials_lost == 0
    assert survived.trials_doubled == 0
    # States are kept after every epoch here: a kill between the report and the state costs one.
    assert all(epochs == 1 for _, epochs, _ in survived.steps_back())
    assert survived.epochs_repeated <= len(survived.kills) * 2  # of two workers
    assert not [*survived.run.glob("checkpoints/*-state*"), *survived.run.glob("**/.*")]
    assert not (survived.run / "driver.lock").exists()


def check_random(weather, folder):
    survived = storms.storm(weather, folder)
    check(survived)
    assert survived.is_as_calm
    return survived


def check_asha(weather, folder):
    survived = storms.storm(weather, folder)
    check(survived)
    assert survived.wrong_decisions(weather) == []
    assert State.STOPPED in {trial.state for trial in survived.history.trials.values()}
    assert survived.differing_trials(weather) == []
    return survived


@pytest.fixture
def at_once(monkeypatch):
    """Epochs that do not wait to be hit, in this process."""
    import stormy

    monkeypatch.setattr(stormy, "EPOCH_SECONDS", 0.0)


def test_a_storm_leaves_the_table_of_a_calm_search(here, tmp_path, at_once):
    weather = storms.Weather(kills=3, trials=4, epochs=4)
    # Undisturbed, it needs no Ray of its own.
    calm = here("run", *storms.asked(weather), "--workers", storms.WORKERS, "--out", "calm")
    assert calm.status == 0, calm
    survived = check_random(weather, tmp_path)
    assert set(survived.victims) == set(storms.VICTIMS)
    # One trial again from its record, in this process.
    replayed = replay(survived.run, 3, SilentView(None))
    assert replayed.is_identical
    assert replayed.epochs == 4
    assert RunFolder.open(survived.run).run_file.exists()


@pytest.mark.long
def test_a_hundred_kills_cost_nothing(tmp_path, at_once):
    random, asha = storms.long_weather(100)
    for name in ("random", "asha"):
        (tmp_path / name).mkdir()
    storms_survived = [
        check_random(random, tmp_path / "random"),
        check_asha(asha, tmp_path / "asha"),
    ]
    print(*storms_survived, sep="\n")
    kills = [kill for survived in storms_survived for kill in survived.kills]
    assert len(kills) >= 90  # a search may end before its last kill
