"""Lets the trials of ``held:Held`` wait between two epochs, while a test acts."""

import time
from pathlib import Path

# The last epoch that a trial may begin on a machine, as a number; without the file there is no
# limit.
FILE = Path("~/last_epoch")
POLL_SECONDS = 0.05


def allow(home: Path, last_epoch: int | None) -> None:
    """Set the last epoch that a trial may begin on the machine with a home folder; None: any."""
    file = home / FILE.name
    if last_epoch is None:
        file.unlink(missing_ok=True)
        return
    part = file.with_suffix(".part")
    part.write_text(str(last_epoch))
    part.replace(file)


def wait(index: int, logs: object = None) -> None:
    """Wait until the epoch of an index, which begins at 0, may begin on this machine."""
    file = FILE.expanduser()
    while file.exists() and index >= int(file.read_text()):
        time.sleep(POLL_SECONDS)
