"""``fmnist-search``: the commands, thin over functions."""

import atexit
from collections.abc import Callable
from typing import NoReturn

from results.record import console
from search.cli import after, doctor, run
from search.signals import ending_signals, ignore_signals

# In the order of the help.
COMMANDS: dict[str, Callable[..., None]] = {
    "run": run.run_command,
    "doctor": doctor.doctor_command,
    "resume": run.resume_command,
    "replay": after.replay_command,
    "tables": after.tables_command,
    "retrain": after.retrain_command,
    "confirm": after.confirm_command,
    "audit": after.audit_command,
    "import": after.import_command,
    "export": after.export_command,
}

app = console.make_app(
    "Run a keras-tuner search on Ray with early stopping; retrain and evaluate the best."
)
for name, command in COMMANDS.items():
    console.command(app, name)(command)


# What is removed at the exit is removed whole, also after a second signal.
atexit.register(ignore_signals)


def main() -> NoReturn:
    """Run the command line; an error is one line on the screen and a status that is not 0."""
    with ending_signals():
        console.main(app, "fmnist-search")
