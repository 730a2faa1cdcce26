"""A worker process: its share of a machine, its seeds, and what it says of itself. No Keras."""

import math
import os
import socket
import subprocess
import sys
import warnings

import numpy as np
import pytest

from search.carry.carried import PickledObject
from search.errors import ProblemError
from search.worker import process
from search.worker.process import LOG_LEVEL
from search.worker.task import NamedObject

# --- Memory of a GPU ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "total_mib", "limit"),
    [
        (0.5, 16_000, 7_400),
        (0.25, 16_000, 3_400),
        (1 / 3, 16_000, 4_733),
        (0.0535, 16_000, 256),
        (0.0536, 16_000, 257),
        (0.01, 16_000, 256),
    ],
)
def test_a_share_of_a_gpu_leaves_room_for_its_process_and_is_enough_for_a_model(
    share, total_mib, limit
):
    assert process.memory_limit_mib(share, total_mib) == limit


@pytest.mark.parametrize("count", [2, 4, 8])
def test_all_shares_of_a_gpu_fit_into_it_with_their_processes(count):
    limit = process.memory_limit_mib(1 / count, 16_000)
    assert count * (limit + process.CONTEXT_MIB) <= 16_000


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """A stand-in for nvidia-smi; what a real one says of a real GPU is in test_gpu.py."""

    def write(script):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return write


# Answers only the question for the memory of GPU 1.
OF_GPU_1 = (
    '[ "$*" = "--id=1 --query-gpu=memory.total --format=csv,noheader,nounits" ] '
    "&& echo 81559 && echo 40000 || { echo No devices were found; exit 6; }"
)


@pytest.mark.parametrize(("visible", "mib"), [("1,2", 81559), ("1", 81559), ("0", None)])
def test_the_memory_is_that_of_the_first_visible_gpu(nvidia_smi, monkeypatch, visible, mib):
    nvidia_smi(OF_GPU_1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert process.visible_memory_mib() == mib


def test_without_a_selection_the_first_gpu_is_visible(nvidia_smi, monkeypatch):
    nvidia_smi('[ "$1" = --id=0 ] && echo 24576')
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert process.visible_memory_mib() == 24576


@pytest.mark.parametrize(
    "script", ["echo [N/A]", "true", "exit 9", "echo 81559; exit 9"], ids=["mig", "empty", "error", "both"]
)  # fmt: skip
def test_a_gpu_whose_memory_is_not_reported_has_none(nvidia_smi, script):
    nvidia_smi(script)
    assert process.visible_memory_mib() is None


def test_a_machine_without_nvidia_smi_has_no_gpu_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert process.visible_memory_mib() is None


# --- Setting up -----------------------------------------------------------------------------------

SET_UP = """
import gc, json, os, sys
from search.worker import process
from search.worker.process import LOG_LEVEL
before = process.is_set_up()
os.environ["FMNIST_SEARCH_FORKED"] = "1"
process.set_up(threads=3, sees_gpus=False)
import tensorflow as tf
process.set_up(threads=5)
print(json.dumps({
    "before": before,
    "after": process.is_set_up(),
    "threads": [
        tf.config.threading.get_intra_op_parallelism_threads(),
        tf.config.threading.get_inter_op_parallelism_threads(),
    ],
    "frozen": gc.get_freeze_count() > 100_000,
    "modules": all(name in sys.modules for name in ("keras", "keras_tuner")),
    "lacks_gpu": process.lacks_gpu(),
    "environment": {name: os.environ.get(name) for name in (
        "CUDA_VISIBLE_DEVICES", "TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND",
        "TF_FORCE_GPU_ALLOW_GROWTH", "CUDA_DEVICE_ORDER", "FMNIST_SEARCH_FORKED",
    )},
}))
"""


@pytest.fixture(scope="module")
def set_up():
    """What a process finds after it was set up: one real process, as it can be done only once."""
    import json

    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CUDA_VISIBLE_DEVICES", "TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND")
    }
    done = subprocess.run(
        [sys.executable, "-c", SET_UP], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout), done.stderr


def test_a_process_is_set_up_once(set_up):
    state, _ = set_up
    assert (state["before"], state["after"]) == (False, True)
    assert state["threads"] == [3, 3], "the second call has no effect"


def test_setting_up_imports_keras_and_hides_the_imports_from_garbage_collection(set_up):
    state, _ = set_up
    assert state["modules"]
    assert state["frozen"]


def test_a_process_without_a_gpu_sees_none(set_up):
    state, _ = set_up
    assert state["environment"]["CUDA_VISIBLE_DEVICES"] == "-1"
    assert state["lacks_gpu"]


def test_a_process_has_the_environment_of_a_quiet_tensorflow(set_up):
    state, errors = set_up
    environment = dict(state["environment"])
    del environment["CUDA_VISIBLE_DEVICES"]
    assert environment == {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "FMNIST_SEARCH_FORKED": None,
    }
    assert errors == ""


def test_a_fork_with_tensorflow_is_not_set_up_yet(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", sys.modules.get("tensorflow") or object())
    monkeypatch.delenv(process.FORKED, raising=False)
    assert process.is_set_up()
    monkeypatch.setenv(process.FORKED, "1")
    assert not process.is_set_up()


# --- Hypermodels ----------------------------------------------------------------------------------


def test_a_hypermodel_is_loaded_once(keras_is_imported):
    process.load_named.cache_clear()
    named = process.load_hypermodel(NamedObject("problems:small"))
    assert process.load_hypermodel(NamedObject("problems:small")) is named
    assert process.load_hypermodel(NamedObject("problems:growing")) is not named


def test_a_hypermodel_of_a_script_is_unpickled(keras_is_imported):
    import keras_tuner as kt

    class Own(kt.HyperModel):
        def build(self, hp):
            return "a model"

    source = PickledObject.of(Own(), "hypermodel")
    assert process.load_hypermodel(source).build(None) == "a model"


def test_an_error_of_a_builder_in_the_discovery_is_one_line(keras_is_imported):
    with pytest.raises(ProblemError) as refused:
        process.discover("problems:raising")
    assert str(refused.value) == (
        "--hypermodel 'problems:raising': the builder raised ValueError: units may not be 1 here"
    )


def test_a_hypermodel_that_is_missing_keeps_its_message(keras_is_imported):
    with pytest.raises(ProblemError, match="has no 'smal'") as refused:
        process.discover("problems:smal")
    assert "builder raised" not in str(refused.value)


# --- Seeds and names ------------------------------------------------------------------------------


def test_the_seeds_of_trials_differ():
    seeds = {process.trial_seed(run, trial) for run in range(5) for trial in range(100)}
    assert len(seeds) == 500
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert any(seed >= 2**30 for seed in seeds), "half of the range would be left out"


def test_the_seed_of_a_trial_is_that_of_version_0_1_0():
    # So that an unfinished trial of an earlier version continues to the bit.
    assert process.trial_seed(0, 0) == 1484405855


def test_attempts_and_executions_have_seeds_of_their_own():
    repeats = [(), (0, 1), (1, 0), (1, 1), (0, 2)]
    assert len({process.trial_seed(1, 2, *repeat) for repeat in repeats}) == len(repeats)


def test_a_worker_is_named_by_host_and_process():
    assert process.worker_name() == f"{socket.gethostname()}:{os.getpid()}"


# --- Values and output ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "json_value"),
    [
        (0.5, 0.5), (np.float32(0.5), 0.5), (3, 3.0), (np.int64(3), 3.0), (True, 1.0),
        (math.nan, None), (math.inf, None), (np.float32(-math.inf), None), (np.array(0.25), 0.25),
        ([1, 2], [1, 2]), ({"a": 1}, {"a": 1}), ("text", "text"),
    ],
)  # fmt: skip
def test_logs_become_json_values(value, json_value):
    [(name, converted)] = process.json_values({"loss": value}).items()
    assert (name, converted) == ("loss", json_value)
    assert type(converted) is type(json_value)


def test_the_error_stream_is_silent_for_native_code_too_and_then_open_again(capfd):
    os.write(2, b"before ")
    with process.silenced_stderr():
        os.write(2, b"of a library ")
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"


def test_the_error_stream_is_open_again_after_an_error(capfd):
    with pytest.raises(ValueError, match="raised"), process.silenced_stderr():
        raise ValueError("raised")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_silencing_the_error_stream_leaves_no_file_open():
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with process.silenced_stderr():
            pass
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_quiet_training_hides_errors_and_warnings(capsys):
    with process.quiet_training():
        print("Traceback of keras-tuner", file=sys.stderr)
        warnings.warn("all values are NaN", RuntimeWarning, stacklevel=1)
    print("after", file=sys.stderr)
    assert capsys.readouterr().err == "after\n"


# --- Sessions and seeds ---------------------------------------------------------------------------


def test_resetting_a_session_forgets_names_and_seeds_all_random_numbers(keras_is_imported):
    import keras

    def draw():
        process.reset_session(5)
        layer = keras.layers.Dense(1)
        return layer.name, np.random.random(), float(keras.random.uniform(()))

    assert draw() == draw()
    assert draw()[0] == "dense"


NOISY = "import os; os.write(2, b'raw line\\n')"
IMPORTING = """
import os
from search.worker.process import import_keras_quietly
import_keras_quietly()
import keras
os.write(2, b"end")
"""


@pytest.mark.parametrize(("level", "shown"), [(None, "end"), ("3", "end"), ("0", "raw line\nend")])
def test_keras_is_imported_without_raw_lines_unless_the_script_asks_for_them(
    tmp_path, level, shown
):
    """A module stands in for Keras here; the long tests import the real one."""
    (tmp_path / "keras.py").write_text(NOISY)
    (tmp_path / "script.py").write_text(IMPORTING)
    environment = {name: value for name, value in os.environ.items() if name != LOG_LEVEL}
    environment |= {LOG_LEVEL: level} if level else {}
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == shown


@pytest.mark.long
@pytest.mark.parametrize(
    "code",
    [
        "import search.kt, keras; keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])",
        "from fmnist_model.fetch import FetchError, from_keras\n"
        "try: from_keras(['a'], verify=print)\n"
        "except FetchError: pass",
    ],
)
def test_nothing_of_tensorflow_appears_on_the_screen(tmp_path, code):
    environment = {name: value for name, value in os.environ.items() if name != LOG_LEVEL}
    environment |= {"FASHION_MNIST_URL": "http://127.0.0.1:9/", "KERAS_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
