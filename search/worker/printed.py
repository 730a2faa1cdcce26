"""Collects what a trial prints, for the reports to the driver."""

import io

# A report carries so many lines, each of so many characters; a loop may print a line per batch.
MAX_LINES = 200
MAX_CHARACTERS = 2000


class PrintedLines(io.TextIOBase):
    """A text stream that collects lines, in the place of ``sys.stdout`` during a trial."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._left_out = 0
        self._unfinished = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        for line in lines:
            self._add(line)
        self._unfinished = self._unfinished[: MAX_CHARACTERS + 1]
        return len(text)

    def take(self) -> list[str]:
        """Return the finished lines since the last call, and how many more there were."""
        lines, left_out = self._lines, self._left_out
        self._lines, self._left_out = [], 0
        return [*lines, f"... {left_out} more lines"] if left_out else lines

    def take_rest(self) -> list[str]:
        """Return the lines since the last call, and the last one even if it is not finished."""
        if self._unfinished:
            self.write("\n")
        return self.take()

    def _add(self, line: str) -> None:
        if len(self._lines) == MAX_LINES:
            self._left_out += 1
            return
        line = line.rstrip("\r").rpartition("\r")[2]  # a line that rewrites itself ends as its last
        is_long = len(line) > MAX_CHARACTERS
        self._lines.append(f"{line[:MAX_CHARACTERS]}..." if is_long else line)
