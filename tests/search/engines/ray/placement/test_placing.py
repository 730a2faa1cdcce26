"""Where trials go on a cluster of CPUs and GPUs that grows and shrinks: logical ones, real trials."""

import subprocess
import time

import pytest
from several_nodes import ENVIRONMENT, several_nodes

from results.record.columns import Device
from results.record.history import History, Objective
from results.record.journal import parse
from search.engines.ray.placement.rule import GPU_FROM_MULTIPLY_ADDS
from search.storage.folder import RunFolder

OBJECTIVE = Objective("val_accuracy", "max")
SHARE = 0.5


def begin(commands, folder, address, *options):
    return subprocess.Popen(
        [
            commands / "fmnist-search", "run", "--hypermodel", "on_devices:Devices", "--data", "problems:blobs",
            "--algorithm", "random", "--retrain-epochs", "none", "--gpus-per-trial", str(SHARE),
            "--address", address, "--out", "run", *options,
        ],
        cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def events(folder):
    path = RunFolder(folder / "run").journal_file
    return parse(path.read_bytes(), path).events if path.exists() else ()


def replayed(folder):
    return History.replay(OBJECTIVE, events(folder))


def assert_each_began_once(told):
    begun = [event["trial"] for event in told if event["event"] == "trial_started"]
    assert sorted(begun) == list(range(len(begun)))


def on_device(told, device):
    """Return how many trials have been placed on a device."""
    return sum(event["event"] == "trial_placed" and event["device"] == device for event in told)


def processes(history, device):
    """Return the processes that have trained on a device."""
    return {trial.worker for trial in history.trials.values() if trial.device is device}


def assert_trained_where_placed(history, *, threads=1):
    for trial in history.trials.values():
        assert trial.epochs, trial
        for epoch in trial.epochs:
            assert epoch.metrics["gpus"] == (trial.device is Device.GPU)
            assert epoch.metrics["threads"] == threads


@pytest.fixture(scope="module")
def cpus_and_gpus():
    """Two nodes, of which one has a GPU."""
    with several_nodes({"num_cpus": 1}, {"num_cpus": 2, "num_gpus": 1}) as nodes:
        yield nodes


@pytest.mark.long
def test_each_trial_goes_where_the_rule_says(tmp_path, commands, cpus_and_gpus):
    search = begin(
        commands, tmp_path, cpus_and_gpus.address, "--resources", "auto", "--trials", "16", "--epochs", "2"
    )  # fmt: skip
    output, _ = search.communicate(timeout=200)
    assert search.returncode == 0, output
    assert "cluster: 2 nodes; trials at once: 3, 2 of them on GPUs" in output
    assert "Ray assigns a GPU that TensorFlow does not see" in output
    history = replayed(tmp_path)
    assert sorted(history.trials) == list(range(16))
    for trial in history.trials.values():
        is_large = trial.multiply_adds >= GPU_FROM_MULTIPLY_ADDS
        assert trial.multiply_adds == 7 * trial.values["units"]
        assert trial.device is (Device.GPU if is_large else Device.CPU)
    assert_trained_where_placed(history)
    told = events(tmp_path)
    assert_each_began_once(told)
    # Two shares of a half; a process trains one trial after the other on its device.
    assert len(processes(history, Device.GPU)) == 2
    assert len(processes(history, Device.CPU)) <= 3 + 2  # a CPU may have to be made free for a GPU


@pytest.mark.long
def test_a_custom_rule_chooses_the_device_and_threads_follow_the_cpus(
    tmp_path, commands, cpus_and_gpus
):
    search = begin(
        commands, tmp_path, cpus_and_gpus.address, "--resources", "on_devices:small_to_gpu", "--cpus-per-trial", "2",
        "--trials", "8", "--epochs", "2",
    )  # fmt: skip
    output, _ = search.communicate(timeout=200)
    assert search.returncode == 0, output
    history = replayed(tmp_path)
    assert {(trial.values["units"], trial.device) for trial in history.trials.values()} == {
        (8, Device.GPU),
        (200_000, Device.CPU),
    }
    assert_trained_where_placed(history, threads=2)


def test_without_a_gpu_a_rule_counts_the_multiply_adds_and_all_trials_train_on_cpus(here, tmp_path):
    done = here(
        "run", "--hypermodel", "on_devices:Devices", "--data", "problems:blobs", "--resources", "auto",
        "--gpus-per-trial", SHARE, "--algorithm", "random", "--trials", 4, "--epochs", 1,
        "--retrain-epochs", "none", "--out", "run",
    )  # fmt: skip
    assert done.status == 0, done
    assert "no GPU is available: every trial trains on CPUs\n" in done.output
    trials = replayed(tmp_path).trials.values()
    assert len(trials) == 4
    assert {trial.device for trial in trials} == {Device.CPU}
    assert all(trial.multiply_adds == 7 * trial.values["units"] for trial in trials)
    assert {trial.values["units"] for trial in trials} == {8, 200_000}
    assert_trained_where_placed(replayed(tmp_path))


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("on_devices:nowhere", "returned 'tpu' for"),
        # test_rule.py names each mistake without a search.
        pytest.param("on_devices:lost", "raised KeyError: 'size'", marks=pytest.mark.long),
        pytest.param("on_devices:none", "has no 'none'", marks=pytest.mark.long),
    ],
)
def test_a_rule_that_gives_no_device_ends_the_search_with_one_line(here, rule, reason):
    done = here(
        "run", "--hypermodel", "on_devices:Devices", "--data", "problems:blobs", "--resources", rule,
        "--trials", 2, "--epochs", 1, "--retrain-epochs", "none", "--out", "run",
    )  # fmt: skip
    assert done.status != 0
    [line] = done.errors.splitlines()
    assert line.startswith("error: ")
    assert reason in line


@pytest.mark.long
def test_more_of_a_gpu_than_any_node_has_is_one_line(tmp_path, commands, cpus_and_gpus):
    search = begin(commands, tmp_path, cpus_and_gpus.address, "--gpus-per-trial", "2")
    output, _ = search.communicate(timeout=200)
    assert search.returncode == 2
    [line] = [line for line in output.splitlines() if line.startswith("error: ")]
    assert line.startswith(
        "error: --gpus-per-trial 2: a trial needs gpu 2 (the largest node has 1). Leave"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_a_gpu_that_joins_is_used_until_it_is_lost(tmp_path, commands):
    with several_nodes({"num_cpus": 2}) as nodes:
        search = begin(
            commands, tmp_path, nodes.address, "--resources", "auto", "--trials", "40", "--epochs", "3"
        )  # fmt: skip

        def wait_for(met):
            deadline = time.monotonic() + 200
            while not met(events(tmp_path)):
                assert search.poll() is None, search.communicate()[0]
                assert time.monotonic() < deadline
                time.sleep(0.1)

        wait_for(lambda told: on_device(told, Device.CPU) >= 4)
        assert on_device(events(tmp_path), Device.GPU) == 0
        nodes.add(num_cpus=2, num_gpus=1)
        wait_for(lambda told: on_device(told, Device.GPU) >= 3)
        nodes.lose()
        lost_at = len(events(tmp_path))
        output, _ = search.communicate(timeout=200)
    assert search.returncode == 0, output
    assert "no GPU is available: every trial trains on CPUs until one joins" in output
    history = replayed(tmp_path)
    assert sorted(history.trials) == list(range(40))
    assert all(trial.epochs for trial in history.trials.values())
    assert len(processes(history, Device.CPU)) <= 10
    assert_each_began_once(events(tmp_path))
    # What needs no GPU to be had goes on without one, the large ones among it.
    after = [event for event in events(tmp_path)[lost_at + 8 :] if event["event"] == "trial_placed"]
    assert {event["device"] for event in after} == {Device.CPU}
    assert any(event["multiply_adds"] >= GPU_FROM_MULTIPLY_ADDS for event in after)
