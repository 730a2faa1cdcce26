"""Checks over ssh whether machines are fit for a cluster."""

import shlex
import shutil
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cluster.errors import ClusterError
from cluster.onprem.config import ClusterFile

CONNECT_SECONDS = 10
ANSWER_SECONDS = 60
SSH_FAILED_STATUS = 255  # of ssh itself, when it cannot log in
# Disk space for the packages, where they are still to be installed, and for Ray.
INSTALL_KIB = 4 * 1024**2
MIN_FREE_KIB = 500 * 1024
# The same as Ray's own: it does not check host keys, since machines come and go.
OPTIONS = (
    "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}",
    "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
)  # fmt: skip
# Starts each line of our scripts: a login script may print lines, too.
MARK = "fmnist-cluster:"
INSTALLED = "~/fmnist-search/.venv/.installed"
PYTHONS = "(3, 11) <= sys.version_info[:2] <= (3, 13)"

# What a machine needs. A checkout installs its packages by make.
TOOLS = ("rsync", "python3", "df", "awk")
# Prints a line for each requirement that the machine does not meet.
CHECK_MACHINE = f"""
tell() {{ echo "{MARK} $*"; }}
for tool in $tools; do command -v $tool >/dev/null || tell missing $tool; done
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
# On the head: prints a line if another program holds a port of Ray. The user's own Ray may hold it,
# since a new start ends that Ray.
CHECK_PORT = """
if (exec 3<>/dev/tcp/127.0.0.1/{port} || exec 3<>/dev/tcp/$(hostname)/{port}) 2>/dev/null; then
  own=
  for process in /proc/[0-9]*; do
    if [ -O "$process" ] && grep -qs gcs_server "$process/comm"; then own=1; fi
  done
  [ -n "$own" ] || tell port {port}
fi
"""
# On the head: prints a line for each running search, which a new start of Ray would end.
CHECK_SEARCHES = """
for process in /proc/[0-9]*; do
  if [ -O "$process" ] && tr '\\0' ' ' 2>/dev/null < "$process/cmdline" |
    grep -Eqs 'fmnist-search (run|resume|retrain|confirm|audit) '
  then tell search "${process#/proc/}"; fi
done
"""
# Printed last, by a shell that has run all checks.
CHECKED = "tell checked"


@dataclass(frozen=True)
class Ssh:
    """Logs in to the machines of a cluster."""

    file: ClusterFile

    def command(self, *options: str) -> list[str]:
        """Return the ssh command without the machine."""
        key = ["-i", str(self.file.key)] if self.file.key else []
        return ["ssh", *OPTIONS, *key, *options]

    def run(
        self, host: str, command: str, *, seconds: float = ANSWER_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a login shell on a machine; see ``run_local`` for the result."""
        # Ray starts the same shell on the machine, so both have the same PATH.
        shell = f"bash --login -c -i {shlex.quote(f'source ~/.bashrc; {command}')}"
        return run_local([*self.command(), f"{self.file.user}@{host}", shell], seconds)


def run_local(command: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a command here, without input; after ``seconds`` it counts as an ssh that failed."""
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
        reason = f"not done after {seconds:g} s"
        return subprocess.CompletedProcess(command, SSH_FAILED_STATUS, "", reason)


@dataclass(frozen=True)
class MachineReport:
    """The result of checking a machine.

    Attributes:
        problems: Why the machine is unfit, one line per reason, which names the machine.
        is_fresh: Whether the packages are still to be installed on it.
    """

    problems: tuple[str, ...]
    is_fresh: bool = False


def check_machines(ssh: Ssh, *tools: str) -> list[MachineReport]:
    """Check all machines at once; return their reports in the order of the file.

    ``tools`` are programs that they need beside ``TOOLS``.
    """
    hosts = ssh.file.hosts
    with ThreadPoolExecutor(len(hosts)) as pool:
        return list(pool.map(lambda host: _check(ssh, host, (*TOOLS, *tools)), hosts))


def _check(ssh: Ssh, host: str, tools: Iterable[str]) -> MachineReport:
    script = [f'tools="{" ".join(tools)}"', CHECK_MACHINE]
    if host == ssh.file.head:
        ports = (ssh.file.port, ssh.file.job_port)
        script += [*(CHECK_PORT.format(port=port) for port in ports), CHECK_SEARCHES]
    shell = ssh.run(host, "\n".join([*script, CHECKED]))
    if shell.returncode == SSH_FAILED_STATUS:
        return MachineReport((ssh_problem(ssh, host, shell.stderr),))
    marked = (line.partition(MARK) for line in shell.stdout.splitlines())
    lines = [text.split() for _, mark, text in marked if mark]
    if ["checked"] not in lines:
        reason = last_line(shell.stderr)
        return MachineReport(
            (f"{host}: its login shell did not run the checks ({reason}): expected bash.",)
        )
    problems = (_problem(kind, *details) for kind, *details in lines)
    return MachineReport(tuple(f"{host}: {text}" for text in problems if text), ["fresh"] in lines)


def _problem(kind: str, *details: str) -> str | None:
    match kind, details:
        case "missing", (tool,):
            return f"{tool} is missing: install it there."
        case "python", version:
            return (
                f"its python3 is {' '.join(version)}: expected Python 3.11 to 3.13, with venv and "
                "ensurepip (Debian: python3-venv)."
            )
        case "full", (*folder, free_kib, needed_kib):
            return (
                f"{int(free_kib) // 1024} MiB free in {' '.join(folder)}: expected "
                f"{int(needed_kib) // 1024} MiB or more. Free some space there."
            )
        case "port", (port,):
            return (
                f"port {port} is taken by a program that is not your Ray: end that program, or "
                "choose another port in the cluster file: by `--port=` and `:6379`, or by "
                "`--dashboard-port=` of the head."
            )
        case "search", (process,):
            return (
                f"a search runs there (process {process}), and a new start of Ray would end it: "
                f"wait for it, or end it by `kill -INT {process}` there."
            )
    return None


def ssh_problem(ssh: Ssh, host: str, errors: str) -> str:
    """Return the message about a machine that ssh could not log in to, from the errors of ssh."""
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
    """Return the last line of a program's errors that is not empty."""
    return next((line for line in reversed(errors.strip().splitlines()) if line), "no message")


def check_local_tools() -> None:
    """Check that this machine has the programs that reach the others.

    Raises:
        ClusterError: Names each that is missing.
    """
    missing = [tool for tool in ("ssh", "rsync") if shutil.which(tool) is None]
    if missing:
        raise ClusterError(f"this machine has no {' and no '.join(missing)}: install it here.")
