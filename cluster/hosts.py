"""The machines of a cluster, reached by ssh: whether each is fit for one."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cluster.config import ClusterFile

CONNECT_SECONDS = 10
ANSWER_SECONDS = 60
REFUSED_STATUS = 255  # of ssh itself
MIN_FREE_KIB = 500 * 1024
RAY_PORT = 6379
# `ray` itself logs in so: the keys of machines that come and go are not looked at.
OPTIONS = (
    "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}",
    "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
)  # fmt: skip

# Says of a machine, a line each, what a cluster needs and it has not.
LOOK = f"""
for tool in rsync make python3; do command -v $tool >/dev/null || echo "missing $tool"; done
for folder in ~ /tmp; do
  free=$(df -Pk "$folder" | awk 'NR==2 {{print $4}}')
  [ "$free" -ge {MIN_FREE_KIB} ] || echo "full $folder $free"
done
"""
# Of the head, where no Ray runs yet that would be stopped first.
LOOK_AT_PORT = f"""
if (exec 3<>/dev/tcp/127.0.0.1/{RAY_PORT} || exec 3<>/dev/tcp/$(hostname)/{RAY_PORT}) 2>/dev/null
then grep -qs gcs_server /proc/[0-9]*/comm || echo "port {RAY_PORT}"; fi
"""


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
        words = [*self.command(), f"{self.file.user}@{host}", f"bash -lic {_quoted(command)}"]
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
            return subprocess.CompletedProcess(words, REFUSED_STATUS, "", f"no end in {seconds} s")


def problems(ssh: Ssh) -> list[str]:
    """Look at all machines at once; return what is wrong, a line each that names the machine."""
    hosts = ssh.file.hosts
    with ThreadPoolExecutor(len(hosts)) as pool:
        found = pool.map(lambda host: list(_look(ssh, host)), hosts)
    return [line for lines in found for line in lines]


def _look(ssh: Ssh, host: str) -> Iterator[str]:
    done = ssh.run(host, LOOK + (LOOK_AT_PORT if host == ssh.file.head else ""))
    if done.returncode == REFUSED_STATUS:
        yield f"{host}: {_refusal(ssh, done.stderr)}"
        return
    for line in done.stdout.splitlines():
        kind, *rest = line.split()
        if kind == "missing":
            yield f"{host}: there is no {rest[0]}: install it there."
        elif kind == "full":
            yield (
                f"{host}: {int(rest[1]) // 1024} MB are free in {rest[0]}, expected "
                f"{MIN_FREE_KIB // 1024} MB or more: make room there."
            )
        elif kind == "port":
            yield (
                f"{host}: port {rest[0]} is taken by a program that is not Ray: end it, or change "
                "the port in the two start commands of the cluster file."
            )


def _refusal(ssh: Ssh, said: str) -> str:
    reason = next((line for line in reversed(said.strip().splitlines()) if line), "no word")
    if "Permission denied" in reason:
        return (
            f"refuses {ssh.file.user} with the key {ssh.file.key or 'that ssh offers'} ({reason}): "
            "expected its public half in ~/.ssh/authorized_keys there."
        )
    return f"does not answer by ssh ({reason}): expected a machine that runs sshd at that address."


def _quoted(command: str) -> str:
    return "'" + command.replace("'", "'\\''") + "'"
