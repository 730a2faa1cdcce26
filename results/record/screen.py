"""Print any text on any output: characters that its encoding lacks are replaced."""

import codecs
import sys
from typing import Any

from rich.console import Console

# Name of the error handler of ``codecs``.
READABLE = "fmnist-readable"
# Signs of our own lines, for an output of ASCII. Any other character is written as its escape
# sequence, such as \u03b1: two values of a choice stay different.
IN_ASCII = {"·": "-", "…": "...", "→": "->", "≤": "<=", "≥": ">="}


def make_console(**settings: Any) -> Console:
    """Return a console on the standard output that can print any text.

    In a notebook, it prints plain text: Rich would show each line as a display of its own.

    Args:
        settings: Further arguments of ``Console``.
    """
    replace_unprintable()
    console = Console(**settings)
    if console.is_jupyter:
        return Console(force_jupyter=False, force_terminal=False, **settings)
    return console


def replace_unprintable() -> None:
    """Let the standard streams replace what they cannot encode, instead of raising an error.

    Streams that already replace it, and those of a notebook, stay as they are.
    """
    codecs.register_error(READABLE, _replace)
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) in ("strict", "surrogateescape"):
            stream.reconfigure(errors=READABLE)  # type: ignore[union-attr]


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace the first character of an encoding error, as ``codecs.register_error`` expects."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    sign, end = error.object[error.start], error.start + 1
    if "\udc80" <= sign <= "\udcff":  # a byte of a file name that is no text: PEP 383
        return sign.encode("ascii", "surrogateescape"), end
    return IN_ASCII.get(sign) or sign.encode("ascii", "backslashreplace").decode("ascii"), end
