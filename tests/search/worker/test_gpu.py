"""What takes a real GPU: announced and skipped where there is none."""

import json
import shutil
import subprocess
import sys

import pytest
from several_nodes import ENVIRONMENT

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        shutil.which("nvidia-smi") is None,
        reason="no NVIDIA GPU here: shares of its memory and training on it are not tried",
    ),
]
SHARE = 0.4
# Trains beside another of its kind, and tells where and within what memory.
TRAIN = f"""
import json
from search.worker import process
process.set_up(threads=1, gpu_share={SHARE})
import keras, numpy as np, tensorflow as tf
x = np.random.rand(4096, 784).astype("float32")
model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(4096), keras.layers.Dense(10)])
model.compile("adam", "mse")
model.fit(x, np.zeros((4096, 10)), epochs=20, verbose=0)
print(json.dumps({{
    "device": model.weights[0].value.device,
    "peak_mib": tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20,
    "limit_mib": process.memory_limit_mib({SHARE}, process.visible_memory_mib()),
}}))
"""


def test_two_processes_train_on_their_shares_of_one_gpu_at_once():
    running = [
        subprocess.Popen([sys.executable, "-c", TRAIN], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]  # fmt: skip
    for process in running:
        told = json.loads(process.communicate(timeout=300)[0])
        assert process.returncode == 0
        assert "GPU" in told["device"]
        assert 0 < told["peak_mib"] <= told["limit_mib"]


def test_a_search_on_shares_of_a_gpu_retrains_and_evaluates(tmp_path, commands):
    done = subprocess.run(
        [
            commands / "fmnist-search", "run", "--hypermodel", "problems:small", "--data", "problems:blobs",
            "--gpus-per-trial", str(SHARE), "--trials", "4", "--epochs", "2", "--retrain-epochs", "2", "--out", "run",
        ],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "TensorFlow does not see" not in done.stdout
    assert (tmp_path / "run" / "final" / "evaluation.json").exists()
