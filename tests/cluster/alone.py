"""A process tree with process ids of its own: it sees no other process, and all of it ends with it."""

import os
import subprocess
from functools import cache

_AS_ROOT = () if os.geteuid() == 0 else ("--user", "--map-root-user")
# Before a command.
ALONE = ("unshare", *_AS_ROOT, "--pid", "--fork", "--mount-proc", "--kill-child")


@cache
def why_not() -> str | None:
    """Return why no such tree can be made here; None where it can."""
    try:
        tried = subprocess.run([*ALONE, "true"], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"unshare: {error.strerror}"
    return tried.stderr.strip() or None if tried.returncode else None
