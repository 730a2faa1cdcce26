"""A cluster on the hosts of a lab, used as its user would use it: from the client."""

import json
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import storm as storms
from epoch_limit import allow
from lab import CHECKOUT, Host, Lab, Running

from results.record.journal import Event, parse

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
PROJECT = "fmnist-search"
CLUSTER_FILE = "cluster/onprem.yaml"
PATIENCE_SECONDS = 420


class Stage:
    """A lab whose client knows a cluster of the other hosts.

    Args:
        lab: The hosts.
        workers: Names of those that are neither the client nor the head.
    """

    def __init__(self, lab: Lab, workers: Sequence[str]) -> None:
        self.lab = lab
        self.client = lab["client"]
        self._names = ("head", *workers)
        # The user's own problem, in the folder of the project.
        for module in ("problems", "stormy", "cluster/epoch_limit", "cluster/held"):
            shutil.copy(TESTS / f"{module}.py", self.client.home / CHECKOUT.name)
        self.describe("head", *workers)

    @property
    def file(self) -> Path:
        """The cluster file of the client."""
        return self.client.home / CHECKOUT.name / CLUSTER_FILE

    def describe(self, head: str, *workers: str) -> None:
        """Write what a user edits of the cluster file: names of hosts, or addresses.

        Each host offers one CPU, so that this machine bears them all.
        """
        text = (ROOT / CLUSTER_FILE).read_text()
        known = {name: self.lab[name].address for name in self._names}
        addresses = ", ".join(known.get(worker, worker) for worker in workers)
        edits = {
            r"head_ip: \S+": f"head_ip: {self.lab[head].address}",
            r"worker_ips: \[[^\]]*\]": f"worker_ips: [{addresses}]",
            r"ssh_user: \S+": "ssh_user: root",
            r"ray start": "ray start --num-cpus=1 --object-store-memory=200000000",
        }
        for old, new in edits.items():
            text = re.sub(old, new, text)
        self.file.write_text(text)

    def run(self, *command: str, seconds: float = PATIENCE_SECONDS) -> subprocess.CompletedProcess:
        """Run a command in the checkout of the client."""
        return self.client.run(command, timeout_seconds=seconds, **self._where)

    def start(self, *command: str) -> Running:
        """Begin a command in the checkout of the client."""
        return self.client.start(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **self._where,
        )

    @property
    def _where(self) -> dict:
        path = f"{self.client.venv}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        return {"env": {"PATH": path}, "cwd": str(CHECKOUT)}

    def submit(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run a command of fmnist-search on the cluster to its end."""
        return self.run(*SUBMIT, *arguments)

    def begin(self, *arguments: str) -> Running:
        """Begin one."""
        return self.start(*SUBMIT, *arguments)

    def lose_client(self, running: Running) -> None:
        """Switch the client off in the middle of what it does, and on again."""
        self.client.crash()
        running.communicate(timeout=30)
        self.client.boot()

    def folder(self, run: str, host: str = "head") -> Path:
        """Return where a run is, as this process sees it."""
        if run.startswith("/shared/"):
            return self.lab.shared / Path(run).name
        return self.lab[host].home / PROJECT / run

    def events(self, run: str) -> tuple[Event, ...]:
        """Read what a run has recorded so far."""
        return events_in(self.folder(run))

    def wait(self, run: str, driver: Running, met) -> None:
        """Wait until the events of a run meet a condition."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not met(self.events(run)):
            if driver.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"it did not come to that: {driver.communicate()[0][-4000:]}")
            time.sleep(0.2)

    def allow(self, last_epoch: int | None, *hosts: str) -> None:
        """Set the last epoch that a trial of ``held:Held`` may begin on hosts; None: any."""
        for host in hosts:
            allow(self.lab[host].home, last_epoch)

    def nodes(self) -> list[str]:
        """Return the addresses of the live nodes, as the head tells."""
        done = self.lab["head"].run(
            ["bash", "-lic", "fmnist-cluster nodes --json"], timeout_seconds=60
        )
        return [node["address"] for node in json.loads(done.stdout)]


SUBMIT = ("ray", "submit", CLUSTER_FILE, "cluster/submit.py", "--")


@contextmanager
def staged(scratch: Path, *workers: str, shared: bool = False):
    """Make a lab with a client, a head and workers; give its stage."""
    hosts = ("client", "head", *workers)
    with Lab(scratch=scratch, project=ROOT, hosts=hosts, shared=hosts[1:] if shared else ()) as lab:
        yield Stage(lab, workers)


def held(weather: storms.Weather) -> list[str]:
    """Return the arguments of a search whose trials wait until they are allowed to go on."""
    return [*storms.asked(weather), "--hypermodel", "held:Held"]


def events_in(run: Path) -> tuple[Event, ...]:
    """Read what a run has recorded so far."""
    path = run / "journal.jsonl"
    return parse(path.read_bytes(), path).events if path.exists() else ()


def epochs_on(events, host: str) -> int:
    """Count the epochs that a host has reported."""
    return sum(on(event, host) for event in events)


def on(event: Event, host: str) -> bool:
    """Tell whether an event is an epoch that a host has reported."""
    return event["event"] == "epoch" and event["worker"].startswith(f"{host}:")


def epochs(events) -> int:
    """Count the epochs that were reported."""
    return sum(event["event"] == "epoch" for event in events)


def workers(events) -> set[str]:
    """Return the names of the workers that have reported epochs."""
    return {event["worker"] for event in events if event["event"] == "epoch"}


def check(stage: Stage, run: str, weather: storms.Weather) -> storms.Survived:
    """Hold what is promised of a run on the head."""
    return check_events(stage.folder(run), stage.events(run), weather)


def check_events(run: Path, events, weather: storms.Weather) -> storms.Survived:
    """Hold what is promised: nothing lost or doubled, each epoch what it must be."""
    survived = storms.Survived(run, events, None, None, events=events)
    assert len(survived.history.trials) == weather.trials
    assert survived.trials_lost == 0
    assert survived.trials_doubled == 0
    with pytest.MonkeyPatch.context() as patch:
        import stormy  # imports Keras, which takes seconds

        patch.setattr(stormy, "EPOCH_SECONDS", 0.0)  # nobody hits these
        assert survived.differing_trials(weather) == []
    assert not [*run.glob("checkpoints/*-state*"), *run.glob("**/.*")]
    by_host = Counter(
        event["worker"].partition(":")[0] for event in events if event["event"] == "epoch"
    )
    trials = {
        host: len(
            {event["trial"] for event in events if event.get("worker", "").startswith(f"{host}:")}
        )
        for host in by_host
    }
    print(
        f"{run.name}: trials by host {trials}, epochs {dict(by_host)}, repeated {survived.epochs_repeated}"
    )
    return survived


def check_lasting(run: Path, weather: storms.Weather) -> storms.Survived:
    """Hold what is promised of a run that may have been interrupted and resumed."""
    events = events_in(run)
    lasting = tuple(event for event in events if event.get("state") != "interrupted")
    return check_events(run, lasting, weather)


def ends(events) -> list[str]:
    """Return why a search has ended, each time that it has."""
    return [event["reason"] for event in events if event["event"] == "search_ended"]


def ended(host: Host) -> bool:
    """Tell whether no Ray runs on a host."""
    return (
        host.run(
            ["bash", "-c", "! grep -qs raylet /proc/[0-9]*/comm"], timeout_seconds=20
        ).returncode
        == 0
    )
