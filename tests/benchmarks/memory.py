"""What a worker's memory does over many trials: prints it, asserts nothing.

``.venv/bin/python tests/benchmarks/memory.py``: configurations of the ``wide`` space, drawn at
random, one epoch each on 2,000 made-up images, all in this process.
"""

import argparse


def main() -> None:
    """Run trials and print the resident memory after every 20."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    asked = parser.parse_args()

    from search.worker import process

    process.set_up(threads=1)
    import numpy as np
    import psutil

    from results.record.history import Objective
    from search.algorithms.drawing import RandomSearcher
    from search.worker.data import Data
    from search.worker.task import NamedObject, Task
    from search.worker.trial import run_trial

    draw = np.random.default_rng(0)

    def images(count: int) -> tuple[np.ndarray, np.ndarray]:
        return draw.random((count, 28, 28), dtype=np.float32), draw.integers(0, 10, count)

    data = Data(train=images(2000), validation=images(500))
    hypermodel = NamedObject("fmnist_model.mlp:Wide")
    objective = Objective("val_accuracy", "max")
    task = Task(hypermodel=hypermodel, objective=objective, epochs=1, patience=0, seed=0)
    searcher = RandomSearcher(process.discover(hypermodel.reference), seed=0)
    print("| trials | resident MiB |")
    print("| --- | --- |")
    for trial in range(asked.trials):
        run_trial(
            task,
            data,
            trial=trial,
            values=searcher.propose(trial),
            report=lambda told: True,
            folder=None,
        )
        if (trial + 1) % 20 == 0:
            resident = psutil.Process().memory_info().rss
            print(f"| {trial + 1} | {resident / 2**20:.0f} |", flush=True)


if __name__ == "__main__":
    main()
