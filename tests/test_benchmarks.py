"""The benchmarks' own logic: which cells the race runs, what settings change; nothing is measured."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "benchmarks" / "race.py"
OUTCOME = (
    "racer,space,first,seed,budget_seconds,curve,trials,epochs,cpu_seconds,peak_memory_mib,machine,date\n"
    "fmnist-search,wide,True,{seed},{seconds},12.5:0.9,3,9,20.0,800,2 cores,2026-11-30\n"
)


@pytest.fixture(scope="module")
def race():
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        spec = importlib.util.spec_from_file_location("race", SCRIPT)
        module = importlib.util.module_from_spec(spec)
        sys.modules["race"] = module  # for its dataclasses
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(SCRIPT.parent))


def test_the_whole_race_has_the_seeds_of_each_racer(race):
    cells = list(race.cells(None, None))
    assert len(cells) == sum(racer.seeds for racer in race.RACERS)
    assert [seed for _, seed in cells] == sorted(seed for _, seed in cells)


def test_any_seed_is_run_for_any_racers(race):
    cells = list(race.cells(["fmnist-search-wide"], [11, 3]))
    assert [(racer.slug, seed) for racer, seed in cells] == [
        ("fmnist-search-wide", 11), ("fmnist-search-wide", 3),
    ]  # fmt: skip
    assert len(list(race.cells(None, [11]))) == len(race.RACERS)


def run_race(*words):
    return subprocess.run(
        [sys.executable, SCRIPT, *words], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("words", [["--seeds"], ["--seeds", "-1"], ["--only"], ["--only", "ours"]])
def test_a_choice_of_nothing_is_refused(words):
    refused = run_race(*words)
    assert refused.returncode == 2
    assert f"argument {words[0]}: " in refused.stderr


@pytest.mark.parametrize("seconds", [300, 600])
def test_a_race_of_a_seed_of_ones_own_is_shown_and_drawn(tmp_path, seconds):
    (tmp_path / "race.csv").write_text(OUTCOME.format(seed=11, seconds=seconds))
    slug = "fmnist-search-wide" + ("-600s" if seconds == 600 else "")
    shown = run_race(
        "--only", slug, "--seeds", "11", "--report", tmp_path, "--folder", tmp_path / "runs"
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert "1 cells on 2 cores, 2026-11-30" in shown.stdout
    assert (tmp_path / "race.svg").exists() == (seconds == 300)


CHANGES = """
import sys
sys.path.insert(0, {folder!r})
import settings
for variant in settings.VARIANTS.values():
    variant.change()
"""


def test_each_setting_that_is_compared_can_be_changed():
    code = CHANGES.format(folder=str(SCRIPT.parent))
    subprocess.run([sys.executable, "-c", code], check=True)
