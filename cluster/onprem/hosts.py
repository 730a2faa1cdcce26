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
# Of the packages, where they are not installed yet; and of Ray.
INSTALL_KIB = 4 * 1024**2
MIN_FREE_KIB = 500 * 1024
# `ray` itself logs in so: the keys of machines that come and go are not looked at.
OPTIONS = (
    "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}",
    "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
)  # fmt: skip
# Before each line of ours: a login script may say things too.
MARK = "fmnist-cluster:"
INSTALLED = "~/fmnist-search/.venv/.installed"
PYTHONS = "(3, 11) <= sys.version_info[:2] <= (3, 13)"

# Says of a machine, a line each, what a cluster needs and it has not.
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
# Of the head: whether another program has a port of Ray's. Our own Ray is ended by its start.
LOOK_AT_PORT = """
if (exec 3<>/dev/tcp/127.0.0.1/{port} || exec 3<>/dev/tcp/$(hostname)/{port}) 2>/dev/null; then
  own=
  for process in /proc/[0-9]*; do
    if [ -O "$process" ] && grep -qs gcs_server "$process/comm"; then own=1; fi
  done
  [ -n "$own" ] || tell port {port}
fi
"""
# Also of the head: a search that a new start of Ray would end.
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
        """Return the words that call ssh, without the machine."""
        key = ["-i", str(self.file.key)] if self.file.key else []
        return ["ssh", *OPTIONS, *key, *options]

    def run(
        self, host: str, command: str, *, seconds: float = ANSWER_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a machine as its user would.

        Returns:
            The finished process; of one that took too long, with ssh's own status.
        """
        # As Ray does it, so that what is on the path there is on it here.
        shell = f"bash --login -c -i {shlex.quote(f'source ~/.bashrc; {command}')}"
        return finished([*self.command(), f"{self.file.user}@{host}", shell], seconds)


def finished(words: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a command here, with nothing to read, and return it with what it said.

    Returns:
        The finished process; one that took longer has ssh's own status for a failure.
    """
    try:
        return subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, REFUSED_STATUS, "", f"no end in {seconds:g} s")


@dataclass(frozen=True)
class Look:
    """What was seen of a machine.

    Attributes:
        problems: What makes it unfit, a line each that names it.
        is_fresh: Whether the packages are still to be installed there.
    """

    problems: tuple[str, ...]
    is_fresh: bool = False


def looks(ssh: Ssh) -> list[Look]:
    """Look at all machines at once, in the order of the file."""
    hosts = ssh.file.hosts
    with ThreadPoolExecutor(len(hosts)) as pool:
        return list(pool.map(lambda host: _look(ssh, host), hosts))


def _look(ssh: Ssh, host: str) -> Look:
    ports = (LOOK_AT_PORT.format(port=port) for port in (ssh.file.port, ssh.file.job_port))
    of_the_head = (*ports, LOOK_AT_SEARCHES)
    is_head = host == ssh.file.head
    done = ssh.run(host, "\n".join((LOOK, *(of_the_head if is_head else ()), LOOKED)))
    if done.returncode == REFUSED_STATUS:
        return Look((refusal(ssh, host, done.stderr),))
    marked = (line.partition(MARK) for line in done.stdout.splitlines())
    told = [words.split() for _, mark, words in marked if mark]
    if ["looked"] not in told:
        said = (done.stderr.strip().splitlines() or ["no word"])[-1]
        return Look((f"{host}: its shell does not do what it is told ({said}): expected bash.",))
    found = (_problem(kind, *rest) for kind, *rest in told)
    return Look(tuple(f"{host}: {one}" for one in found if one), ["fresh"] in told)


def _problem(kind: str, *rest: str) -> str | None:
    if kind == "missing":
        return f"there is no {rest[0]}: install it there."
    if kind == "python":
        return (
            f"its python3 is {' '.join(rest)}: expected Python 3.11 to 3.13, with venv and "
            "ensurepip (Debian: python3-venv)."
        )
    if kind == "full":
        return (
            f"{int(rest[1]) // 1024} MB are free in {rest[0]}, expected {int(rest[2]) // 1024} MB "
            "or more: make room there."
        )
    if kind == "port":
        return (
            f"port {rest[0]} is taken by a program that is not your Ray: end it, or name another "
            "in the cluster file: in `--port=` and `:6379`, or by `--dashboard-port=` of the head."
        )
    if kind == "search":
        return (
            f"a search runs there (process {rest[0]}), which a new start of Ray would end: wait "
            f"for it, or end it by `kill -INT {rest[0]}` there."
        )
    return None


def refusal(ssh: Ssh, host: str, said: str) -> str:
    """Return a line on a machine that ssh could not log in to, of what ssh said."""
    reason = next((line for line in reversed(said.strip().splitlines()) if line), "no word")
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


def check_here() -> None:
    """Check that this machine has what reaches the others.

    Raises:
        ClusterError: Names what is missing.
    """
    missing = [tool for tool in ("ssh", "rsync") if shutil.which(tool) is None]
    if missing:
        raise ClusterError(f"this machine has no {' and no '.join(missing)}: install it here.")
