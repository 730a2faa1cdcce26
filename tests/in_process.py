"""Commands that a test runs in its own process, which has imported TensorFlow once for all."""

import contextlib
import gc
import io
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from unittest import mock

LIMIT_SECONDS = 300


@dataclass(frozen=True)
class Done:
    """What a command left on the screen.

    Attributes:
        status: Its exit status.
        output: What it wrote to the output.
        errors: What it wrote to the error output.
    """

    status: int
    output: str
    errors: str

    def __str__(self) -> str:
        return f"status {self.status}\n{self.output}{self.errors}"


def fmnist_search(folder: Path, *words: object) -> Done:
    """Run ``fmnist-search`` with these words, in a folder, to its end."""
    from search.cli import main

    return run_main(main, "fmnist-search", folder, words)


def fmnist_results(folder: Path, *words: object) -> Done:
    """Run ``fmnist-results`` in the same way."""
    from results.cli import main

    return run_main(main, "fmnist-results", folder, words)


def help_of(program: str, *words: str) -> str:
    """Return what one of the three programs prints for ``--help``, of a command if one is named."""
    import cluster.cli
    import results.cli
    import search.cli

    mains = {
        "fmnist-search": search.cli.main,
        "fmnist-results": results.cli.main,
        "fmnist-cluster": cluster.cli.main,
    }
    done = run_main(mains[program], program, Path.cwd(), [*words, "--help"])
    assert done.status == 0, done
    return done.output


def run_main(
    main: Callable[[], NoReturn], name: str, folder: Path, words: Sequence[object]
) -> Done:
    """Run the main function of a program."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        mock.patch.object(sys, "argv", [name, *map(str, words)]),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        _time_limit(LIMIT_SECONDS),
    ):
        try:
            main()
        except SystemExit as end:
            status = end.code
    # The end of a process would end the workers of a search; here they end when nothing refers to
    # them, and an error's traceback may be part of a cycle.
    gc.collect()
    return Done(status, output.getvalue(), errors.getvalue())


@contextlib.contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the main thread if the block lasts longer: a search may wait for ever."""

    def stop(_number: int, _frame: object) -> NoReturn:
        raise TimeoutError(f"the command has not ended in {seconds} s")

    handler = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
