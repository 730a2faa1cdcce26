"""Starts processes that end with this one, also if this one is killed."""

import os
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

_children: "weakref.WeakSet[subprocess.Popen[bytes]]" = weakref.WeakSet()


def start_child(
    command: Sequence[str], *, env: Mapping[str, str], **options: Any
) -> "subprocess.Popen[bytes]":
    """Start a process whose standard input closes when this process ends.

    The process must read its input, and end when it closes. Its errors are discarded.

    Args:
        command: The program and its arguments.
        env: The environment of the process.
        options: Further arguments of ``subprocess.Popen``.
    """
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env=env,
        **options,
    )
    _children.add(child)
    return child


def _close_inputs() -> None:
    # A process that a script forks would hold the inputs open after the script has ended.
    for child in list(_children):
        if child.stdin is not None:
            child.stdin.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inputs)
