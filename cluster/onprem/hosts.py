"""The machines of a cluster, reached by ssh: whether each is fit for one."""

import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cluster.errors import ClusterError
from cluster.onprem.config import ClusterFile

CONNECT_SECONDS = 10
ANSWER_SECONDS = 60
REFUSED_STATUS = 255  # of ssh itself
# What the packages take where they are not installed yet, and what Ray takes.
INSTALL_KIB = 4 * 1024**2
MIN_FREE_KIB = 500 * 1024
# As Ray itself logs in: it does not check the keys of machines, which come and go.
OPTIONS = (
    "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}",
    "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
)  # fmt: skip
# Begins each of our lines: a login script may print others.
MARK = "fmnist-cluster:"
INSTALLED = "~/fmnist-search/.venv/.installed"
PYTHONS = "(3, 11) <= sys.version_info[:2] <= (3, 13)"

# Prints a line for everything that a cluster needs and the machine lacks.
LOOK = f"""
tell() {{ echo "{MARK} $*"; }}
for tool in rsync make python3 df awk; do command -v $tool >/dev/null || tell missing $tool; done
home={MIN_FREE_KIB}
if [ ! -e {INSTALLED} ]; then
  tell fresh
  home={INSTALL_KIB}
  python3 -c 'import sys, venv, ensurepip; sys.exit(not {PYTHONS})' 2>/dev/null ||
    tell python "$(python3 --version 2>&1)"
fi
room() {{
  free=$(df -Pk "$1" | awk 'NR==2 {{print $4}}')
  [ "$free" -ge "$2" ] || tell full "$1" "$free" "$2"
}}
room ~ $home
room /tmp {MIN_FREE_KIB}
"""
# On the head: whether another program has a port of Ray. A new start ends our own Ray.
LOOK_AT_PORT = """
if (exec 3<>/dev/tcp/127.0.0.1/{port} || exec 3<>/dev/tcp/$(hostname)/{port}) 2>/dev/null; then
  own=
  for process in /proc/[0-9]*; do
    if [ -O "$process" ] && grep -qs gcs_server "$process/comm"; then own=1; fi
  done
  [ -n "$own" ] || tell port {port}
fi
"""
# On the head, too: whether a search runs, which a new start of Ray would end.
LOOK_AT_SEARCHES = """
for process in /proc/[0-9]*; do
  if [ -O "$process" ] && tr '\\0' ' ' 2>/dev/null < "$process/cmdline" |
    grep -Eqs 'fmnist-search (run|resume|retrain|confirm|audit) '
  then tell search "${process#/proc/}"; fi
done
"""
LOOKED = "tell looked"


@dataclass(frozen=True)
class Ssh:
    """Logs in to the machines of a cluster."""

    file: ClusterFile

    def command(self, *options: str) -> list[str]:
        """Return the call of ssh, without the machine."""
        key = ["-i", str(self.file.key)] if self.file.key else []
        return ["ssh", *OPTIONS, *key, *options]

    def run(
        self, host: str, command: str, *, seconds: float = ANSWER_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a machine as its user would, and as ``finished`` runs one here."""
        # The shell that Ray starts there, so that both have the same path.
        shell = f"bash --login -c -i {shlex.quote(f'source ~/.bashrc; {command}')}"
        return finished([*self.command(), f"{self.file.user}@{host}", shell], seconds)


def finished(command: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a command here without input; one that takes longer has the status of a failed ssh."""
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, REFUSED_STATUS, "", f"no end in {seconds:g} s")


@dataclass(frozen=True)
class Report:
    """What a look at a machine has shown.

    Attributes:
        problems: What makes it unfit: lines that name it.
        is_fresh: Whether the packages are still to be installed there.
    """

    problems: tuple[str, ...]
    is_fresh: bool = False


def looks(ssh: Ssh) -> list[Report]:
    """Look at all machines at once, in the order of the file."""
    hosts = ssh.file.hosts
    with ThreadPoolExecutor(len(hosts)) as pool:
        return list(pool.map(lambda host: _look(ssh, host), hosts))


def _look(ssh: Ssh, host: str) -> Report:
    script = [LOOK]
    if host == ssh.file.head:
        ports = (ssh.file.port, ssh.file.job_port)
        script += [*(LOOK_AT_PORT.format(port=port) for port in ports), LOOK_AT_SEARCHES]
    done = ssh.run(host, "\n".join([*script, LOOKED]))
    if done.returncode == REFUSED_STATUS:
        return Report((refusal(ssh, host, done.stderr),))
    marked = (line.partition(MARK) for line in done.stdout.splitlines())
    lines = [text.split() for _, mark, text in marked if mark]
    if ["looked"] not in lines:
        reason = last_line(done.stderr)
        return Report(
            (f"{host}: its shell does not do what it is told ({reason}): expected bash.",)
        )
    problems = (_problem(kind, *details) for kind, *details in lines)
    return Report(tuple(f"{host}: {text}" for text in problems if text), ["fresh"] in lines)


def _problem(kind: str, *details: str) -> str | None:
    match kind, details:
        case "missing", (tool,):
            return f"there is no {tool}: install it there."
        case "python", version:
            return (
                f"its python3 is {' '.join(version)}: expected Python 3.11 to 3.13, with venv and "
                "ensurepip (Debian: python3-venv)."
            )
        case "full", (*folder, free_kib, needed_kib):
            return (
                f"{int(free_kib) // 1024} MB are free in {' '.join(folder)}, expected "
                f"{int(needed_kib) // 1024} MB or more: make room there."
            )
        case "port", (port,):
            return (
                f"port {port} is taken by a program that is not your Ray: end it, or name another "
                "in the cluster file: in `--port=` and `:6379`, or by `--dashboard-port=` of the "
                "head."
            )
        case "search", (process,):
            return (
                f"a search runs there (process {process}), which a new start of Ray would end: "
                f"wait for it, or end it by `kill -INT {process}` there."
            )
    return None


def refusal(ssh: Ssh, host: str, errors: str) -> str:
    """Return a line on a machine that ssh could not log in to, by the errors of ssh."""
    reason = last_line(errors)
    if "Permission denied" in reason:
        key = ssh.file.key or "that ssh offers"
        return (
            f"{host}: refuses {ssh.file.user} with the key {key} ({reason}): "
            "expected its public half in ~/.ssh/authorized_keys there."
        )
    return (
        f"{host}: does not answer by ssh ({reason}): expected a machine that runs sshd at that "
        "address."
    )


def last_line(errors: str) -> str:
    """Return the last line of what a program printed that says something."""
    return next((line for line in reversed(errors.strip().splitlines()) if line), "no word")


def check_here() -> None:
    """Raise ClusterError unless this machine has the programs that reach the others."""
    missing = [tool for tool in ("ssh", "rsync") if shutil.which(tool) is None]
    if missing:
        raise ClusterError(f"this machine has no {' and no '.join(missing)}: install it here.")
