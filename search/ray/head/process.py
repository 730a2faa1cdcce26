"""The process that runs Ray for a driver: ``process.py VARIABLE OPTIONS IDLE-SECONDS``.

The variable that names a raylet; the arguments of ``ray.init``, as JSON; the time after which a Ray
that no driver uses ends. The driver writes ``JOIN`` and reads a line of JSON: Ray's address, or why
there is none. It writes ``LEAVE`` when it has no use for Ray, and closes the pipe to end it.
"""

import contextlib
import json
import os
import selectors
import shutil
import sys
import traceback

import psutil

JOIN, LEAVE = b"j", b"l"


def main() -> None:
    """Start Ray, tell its address as often as the driver asks, and end it."""
    answers = os.dup(1)
    os.dup2(2, 1)  # nothing else is written there
    variable, options, idle_seconds = sys.argv[1], json.loads(sys.argv[2]), float(sys.argv[3])
    os.environ[variable] = str(os.getpid())  # as in ``search.ray.environment``
    import ray

    del os.environ[variable]
    try:
        ray.init(address="local", **options)
        answer = {"address": ray.get_runtime_context().gcs_address}
    except Exception as error:
        answer = {"error": traceback.format_exception_only(error)[-1].strip()}
    try:
        _serve(json.dumps(answer).encode() + b"\n", answers, idle_seconds)
    finally:
        family = psutil.Process().children(recursive=True)
        ray.shutdown()
        for process in family:  # some of a Ray that has failed to start outlive it
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        folder = options["_temp_dir"]
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # it is empty once the driver has ended
            os.rmdir(os.path.realpath(os.path.dirname(folder)))


def _serve(answer: bytes, answers: int, idle_seconds: float) -> None:
    """Answer the driver until it is gone or has not used Ray for some time."""
    is_used = True
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        while selector.select(None if is_used else idle_seconds):
            command = os.read(sys.stdin.fileno(), 1)
            if not command:
                return
            is_used = command == JOIN
            if is_used:
                os.write(answers, answer)


if __name__ == "__main__":
    main()
