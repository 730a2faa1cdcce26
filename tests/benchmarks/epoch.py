"""What an epoch costs: Keras's ``fit``, the fast epoch, and the matrix products alone.

Run by ``make bench``; prints a Markdown table, writes ``bench.json`` and asserts nothing. The network
is the published best one: 6 hidden layers of 239 neurons, relu, batch size 32, 54,000 samples;
made-up images, as the arithmetic does not depend on them. What is compared runs in one process on
one thread, in turn, several rounds; the median round counts, and ratios are of the same round.
``fit`` is Keras's with its defaults, one batch a call. Only the last row, ``fit`` on all cores, has a
process of its own, after the others.
"""

import argparse
import itertools
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from meter import machine
from outcome import markdown

from search.worker.process import import_keras_quietly

SAMPLES, BATCH_SIZE, LAYERS, NEURONS, DROPOUT = 54_000, 32, 6, 239, 0.0262
OPTIMIZERS = ("sgd", "adam", "rmsprop", "nadam")
FLOOR, FIT, ALL_CORES = "matrix products", "fit, nadam, dropout", "fit, nadam, dropout, all cores"
Run = Callable[[], None]


def main() -> None:
    """Time everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    parser.add_argument("--only-fit", action="store_true", help="time model.fit on all cores")
    parser.add_argument("--only", nargs="*", help="names of rows")
    asked = parser.parse_args()
    import_keras_quietly()
    if asked.only_fit:
        print(json.dumps(_timed({FIT: _fit("nadam")}, asked.rounds)[FIT]))
        return
    print(f"{machine()}, {platform.platform()}; {asked.rounds} rounds\n")
    rounds = _timed(_rows(asked.only), asked.rounds)
    rounds[ALL_CORES] = _on_all_cores(asked.rounds)
    print(_table(rounds))
    if asked.only is None:
        asked.out.write_text(json.dumps(_summary(rounds), indent=2) + "\n")
        print(f"\nwritten: {asked.out}")


def _table(rounds: dict[str, list[float]]) -> str:
    lines = []
    for name, seconds in rounds.items():
        fit = rounds.get(name.replace("fast", "fit"), seconds)  # of the same optimizer
        speedup = f"{_ratio(fit, seconds):.2f}" if fit is not seconds else ""
        of_floor = "" if name == ALL_CORES else f"{_ratio(seconds, rounds[FLOOR]):.2f}"
        lines.append([name, f"{statistics.median(seconds):.2f}", of_floor, speedup])
    heads = ["epoch of 1,688 steps, one thread", "seconds", "of the floor", "faster than its fit"]
    return markdown(heads, lines)


def _summary(rounds: dict[str, list[float]]) -> dict[str, float]:
    names = {
        "floor_s": FLOOR,
        "fast_s": "fast, adam",
        "fast_nadam_dropout_s": "fast, nadam, dropout",
        "fit_one_thread_s": FIT,
        "fit_default_s": ALL_CORES,
    }
    return {key: round(statistics.median(rounds[name]), 4) for key, name in names.items()}


def _ratio(seconds: list[float], of: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(seconds, of, strict=True))


def _rows(only: list[str] | None) -> dict[str, Run]:
    from search.worker import process

    process.set_up(threads=1)
    rows: dict[str, Callable[[], Run]] = {FLOOR: _matrix_products}
    for optimizer in OPTIMIZERS:
        rows[f"fast, {optimizer}"] = lambda optimizer=optimizer: _fast(optimizer, 0.0)
        rows[f"fast, {optimizer}, dropout"] = lambda optimizer=optimizer: _fast(optimizer, DROPOUT)
        rows[f"fit, {optimizer}, dropout"] = lambda optimizer=optimizer: _fit(optimizer)
    return {name: make() for name, make in rows.items() if not only or name in (FLOOR, *only)}


def _timed(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    for run in runs.values():
        run()  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started_at = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started_at)
    return seconds


def _model(optimizer: str, dropout: float):
    import keras

    model = keras.Sequential([keras.Input((28, 28)), keras.layers.Flatten()])
    for _ in range(LAYERS):
        model.add(keras.layers.Dense(NEURONS, activation="relu"))
        if dropout:
            model.add(keras.layers.Dropout(dropout))
    model.add(keras.layers.Dense(10, activation="softmax"))
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _data():
    import numpy as np

    draw = np.random.default_rng(0)
    return (
        draw.random((SAMPLES, 28, 28), dtype=np.float32),
        draw.integers(0, 10, SAMPLES),
    )


def _fast(optimizer: str, dropout: float) -> Run:
    from search.worker.fast.arrays import Arrays
    from search.worker.fast.epoch import TrainingEpoch
    from search.worker.fast.randomness import EpochRandomness

    model = _model(optimizer, dropout)
    model.optimizer.build(model.trainable_variables)
    epoch = TrainingEpoch(model, Arrays.of(*_data()), BATCH_SIZE)
    numbers = iter(range(sys.maxsize))

    def run() -> None:
        model.reset_metrics()
        layers = epoch.random_layers
        epoch.run(
            EpochRandomness.of(0, 0, next(numbers), samples=SAMPLES, shuffles=True, layers=layers)
        )

    return run


def _fit(optimizer: str) -> Run:
    model, (x, y) = _model(optimizer, DROPOUT), _data()
    return lambda: model.fit(x, y, batch_size=BATCH_SIZE, verbose=0)


def _matrix_products() -> Run:
    """Return the products of a step, forward and backward, as often as an epoch has steps."""
    import tensorflow as tf

    widths = [28 * 28, *[NEURONS] * LAYERS, 10]
    weights = [tf.Variable(tf.random.normal(shape)) for shape in itertools.pairwise(widths)]
    values = [tf.Variable(tf.random.normal((BATCH_SIZE, width))) for width in widths]
    steps = -(-SAMPLES // BATCH_SIZE)

    @tf.function(autograph=False)
    def epoch() -> tf.Tensor:
        def step(number: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            products = []
            for layer, weight in enumerate(weights):
                # Read in each step, so that no product is taken out of the loop.
                below, above = values[layer].read_value(), values[layer + 1].read_value()
                products.append(tf.matmul(below, weight))
                products.append(tf.matmul(below, above, transpose_a=True))
                if layer:
                    products.append(tf.matmul(above, weight, transpose_b=True))
            return number + 1, total + tf.add_n([product[0, 0] for product in products])

        start = (tf.constant(0), tf.constant(0.0))
        return tf.while_loop(lambda number, _: number < steps, step, start)[1]

    return lambda: float(epoch())


def _on_all_cores(rounds: int) -> list[float]:
    command = [sys.executable, __file__, "--only-fit", "--rounds", str(rounds)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(said.splitlines()[-1])


if __name__ == "__main__":
    main()
