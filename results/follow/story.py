"""What happens in a search, a line for each thing: for a person who follows it."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from results.follow.follow import Event, Line, damaged, note
from results.reading import CUT_OFF, Run
from results.record import columns
from results.record.ending import Ending

INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Best:
    """A value of the objective, and where it was reached."""

    value: float
    trial: int
    epoch: int
    at_seconds: float


@dataclass
class Trial:
    """What is known of a trial.

    Attributes:
        epochs: By execution and epoch, its value; None where that does not count.
        score: What the trial itself computed at its end.
    """

    epochs: dict[tuple[int, int], Best | None] = field(default_factory=dict)
    score: Best | None = None

    def add(self, execution: int, epoch: int, value: Best | None) -> None:
        """Take in an epoch; what a lost process had reported from there on is trained again."""
        kept = {key: known for key, known in self.epochs.items() if key < (execution, epoch)}
        self.epochs = kept | {(execution, epoch): value}

    def best(self, sign: float) -> Best | None:
        """Return its best value, of equals the first; more is better where the sign is 1."""
        if self.score is not None:
            return self.score
        values = [value for value in self.epochs.values() if value is not None]
        return max(values, key=lambda value: sign * value.value, default=None)


class Story:
    """Prints a table of what was there, then a line for each thing that happens.

    Args:
        run: The folder.
        show_table: Prints the table of the trials so far and returns the run, or None where no
            table is to be had.
    """

    def __init__(self, run: Path, show_table: Callable[[], Run | None]) -> None:
        self._run = run
        self._show_table = show_table
        self._objective = ""
        self._sign = 1.0
        self._trials: dict[int, Trial] = {}
        self._best: Best | None = None
        self._epochs_trained = 0
        self._named: set[int] = set()

    def begin(self, lines: Sequence[Line]) -> None:
        """Print the table; where there is none, a line on what is known."""
        found = self._show_table()
        if found is not None:
            self._know(found.objective, found.mode)
            told = (found.trials.schema.metadata or {}).get(columns.DAMAGED_LINES.encode(), b"")
            self._named = {int(number) for number in told.decode().split(",") if number.strip()}
        for line in lines:
            if line.event is not None:
                list(self._sentences(line.event))
            elif found is None:
                self._name(line.number)
        if found is None:
            _say(f"so far: {self._so_far()}")

    def tell(self, line: Line) -> None:
        """Print what is new."""
        if line.event is None:
            self._name(line.number)
            return
        for sentence in self._sentences(line.event):
            _say(f"{line.event['at_seconds']:7.1f} s  {sentence}")

    def end(self, reason: str) -> None:
        """Print why the search ended and what it found, and how to go on."""
        go_on = f"fmnist-search resume {shlex.quote(str(self._run))} goes on with it"
        if reason == CUT_OFF:
            _say(f"its search was cut off: {go_on}")
            return
        _say(f"search ended ({reason}): {self._so_far()}")
        if reason == INTERRUPTED:
            _say(go_on)

    def _name(self, number: int) -> None:
        if number not in self._named:
            note(damaged(number))
        self._named.add(number)

    def _so_far(self) -> str:
        counted = f"{len(self._trials)} trials, {self._epochs_trained} epochs"
        if self._best is None:
            return counted
        best = self._best
        return (
            f"{counted}, best {self._objective} {best.value:.4f} in trial {best.trial}, epoch "
            f"{best.epoch}, after {best.at_seconds:.0f} s"
        )

    def _know(self, objective: str, mode: str) -> None:
        self._objective, self._sign = objective, -1.0 if mode == "min" else 1.0

    def _sentences(self, event: Event) -> Iterator[str]:
        """Take in an event; yield what there is to say of it, even if nobody listens."""
        kind, number = event["event"], event.get("trial")
        if kind in ("search_started", "search_resumed"):
            yield from self._search(kind, event)
        elif kind == "trial_started":
            self._trials[event["trial"]] = Trial()
            yield f"trial {number} started: {_words(event['values'])}"
        elif number in self._trials:
            yield from self._of_a_trial(event, number, self._trials[number])

    def _search(self, kind: str, event: Event) -> Iterator[str]:
        plan = event["run"]["plan"]
        objective = plan["problem"]["objective"]
        self._know(objective["name"], objective["mode"])
        of = f", {plan['trials']} trials" if plan["trials"] else ""
        yield f"{kind.replace('_', ' ')}: space {plan['problem']['space']}, {plan['algorithm']}{of}"

    def _of_a_trial(self, event: Event, number: int, trial: Trial) -> Iterator[str]:
        match event["event"]:
            case "trial_restarted":
                yield f"trial {number} goes on in another process"
            case "trial_retried":
                self._trials[number] = Trial()
                self._has_risen(number)
                yield f"trial {number} failed and begins again: {_first_line(event['error'])}"
            case "worker_lost":
                whose = "its process" if event["by_trial"] else "its node, or Ray,"
                yield f"trial {number}: {whose} is lost ({_first_line(event['error'])}), it goes on"
            case "epoch":
                self._epochs_trained += 1
                self._add_epoch(event, number, trial)
                if self._has_risen(number):
                    yield self._new_best()
            case "trial_ended":
                trial.score = self._score(event, number)
                if self._has_risen(number):
                    yield self._new_best()
                yield self._ended(event, number, trial)

    def _add_epoch(self, event: Event, number: int, trial: Trial) -> None:
        execution, epoch = event.get("execution", 0), event["epoch"]
        value = event["metrics"].get(self._objective)
        counts = execution == 0 and value is not None
        best = Best(value, number, epoch, event["at_seconds"]) if counts else None
        trial.add(execution, epoch, best)

    def _score(self, event: Event, number: int) -> Best | None:
        score = event.get("score")
        if score is None:
            return None
        return Best(score, number, event["best_step"] + 1, event["at_seconds"])

    def _has_risen(self, number: int) -> bool:
        """Bring the best of all up to date with a trial; tell whether it is better than before."""
        best, before = self._trials[number].best(self._sign), self._best
        if best is not None and (before is None or self._is_better(best, before)):
            self._best = best
            return True
        if before is not None and before.trial == number and best != before:
            others = [trial.best(self._sign) for trial in self._trials.values()]
            known = [other for other in others if other is not None]
            self._best = max(known, key=lambda one: self._sign * one.value, default=None)
        return False

    def _is_better(self, best: Best, than: Best) -> bool:
        return self._sign * best.value > self._sign * than.value

    def _new_best(self) -> str:
        assert self._best is not None
        best = self._best
        return (
            f"trial {best.trial}, epoch {best.epoch}: best {self._objective} so far "
            f"{best.value:.4f}"
        )

    def _ended(self, event: Event, number: int, trial: Trial) -> str:
        ending = Ending.read(event["state"], event.get("scheduler"))
        sentence = f"trial {number} {ending} after {len(trial.epochs)} epochs"
        best = trial.best(self._sign)
        if best is not None:
            sentence += f", best {self._objective} {best.value:.4f}"
        error = event.get("error")
        return f"{sentence}: {_first_line(error)}" if error else sentence


def _say(text: str) -> None:
    # At once: what is piped into another program is wanted as it happens.
    print(text, flush=True)


def _words(values: dict[str, Any]) -> str:
    return " ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in values.items()
    )


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0]
