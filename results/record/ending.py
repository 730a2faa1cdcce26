"""How a trial ended: as it is recorded, and in words."""

from dataclasses import dataclass

from results.record.columns import State

# The state that version 0.1.0 recorded of a trial that a scheduler stopped, in the journal and in
# the tables: ASHA was its only scheduler.
STOPPED_BY_ASHA = "stopped by ASHA"
# Schedulers whose name is written otherwise in a sentence.
IN_WORDS = {"asha": "ASHA"}


@dataclass(frozen=True)
class Ending:
    """How a trial ended, or that it has not.

    Attributes:
        state: The named state.
        scheduler: What stopped it; None of a trial that no scheduler stopped.
    """

    state: State
    scheduler: str | None = None

    @classmethod
    def read(cls, state: str, scheduler: str | None = None) -> "Ending":
        """Return the ending that a run of any version recorded.

        Raises:
            ValueError: There is no such state.
        """
        if state == STOPPED_BY_ASHA:
            return cls(State.STOPPED, "asha")
        return cls(State(state), scheduler)

    def __str__(self) -> str:
        """Return it in words, such as ``stopped by ASHA``."""
        if self.scheduler is None:
            return str(self.state)
        return f"{self.state} by {IN_WORDS.get(self.scheduler, self.scheduler)}"
