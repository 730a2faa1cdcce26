"""The file that describes a cluster of the user's own machines, in the format of ``ray up``."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.errors import ClusterError

# Start of the addresses in the shipped file, which RFC 5737 reserves for documentation.
EXAMPLE_NETWORK = "192.0.2."
RAY_PORT = 6379
JOB_PORT = 8265
# The token that the cluster asks for; every cluster file copies it to the machines.
TOKEN = Path("~/.ray/auth_token")
# The copy of the cluster file that `ray up` puts on the head.
BOOTSTRAP_FILE = Path("~/ray_bootstrap_config.yaml")


@dataclass(frozen=True)
class ClusterFile:
    """The machines that a cluster file names, and how to reach them.

    Attributes:
        head: Address of the head.
        workers: Addresses of the other machines.
        user: The user who logs in to all machines.
        key: Private key of that user; None lets ssh choose one.
        port: Port of Ray on the head.
        job_port: Port of the dashboard and the job server on the head.
    """

    path: Path
    head: str
    workers: tuple[str, ...]
    user: str
    key: Path | None
    port: int = RAY_PORT
    job_port: int = JOB_PORT

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses of all machines, the head first."""
        return (self.head, *self.workers)


def read_cluster_file(path: Path) -> ClusterFile:
    """Read the file of a cluster of the user's own machines.

    Raises:
        ClusterError: The file cannot be read, or is wrong; one line per problem.
    """
    content = _parsed(path)
    problems = [f"{path}: {problem}" for problem in _problems(content)]
    if problems:
        raise ClusterError("\n".join(problems))
    provider, auth = content["provider"], content["auth"]
    key = auth.get("ssh_private_key")
    return ClusterFile(
        path=path,
        head=str(provider["head_ip"]),
        workers=tuple(str(address) for address in provider["worker_ips"]),
        user=str(auth["ssh_user"]),
        key=Path(str(key)).expanduser() if key else None,
        port=_port(content, "--port", RAY_PORT),
        job_port=_port(content, "--dashboard-port", JOB_PORT),
    )


def expected_nodes() -> int | None:
    """Return the number of machines in the cluster of this head, or None if no file tells it."""
    path = Path(os.path.expanduser(BOOTSTRAP_FILE))  # without a home, there is none
    if not path.exists():
        return None
    provider = _parsed(path).get("provider") or {}
    workers = provider.get("worker_ips")
    return None if workers is None else 1 + len(workers)


def _port(content: dict[str, Any], option: str, default: int) -> int:
    commands = " ".join(str(line) for line in content.get("head_start_ray_commands") or ())
    match = re.search(rf"{option}[= ](\d+)", commands)
    return int(match[1]) if match else default


def _parsed(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ClusterError(
            f"{str(path)!r} cannot be read ({error.strerror}): expected a cluster file such as "
            "cluster/onprem.yaml in the folder of the project. `fmnist-cluster init` writes one."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ClusterError(
            f"{path} is not valid YAML ({_place_of(error)}): expected a cluster file such as "
            "cluster/onprem.yaml."
        ) from error
    if not isinstance(content, dict):
        problem = "is empty" if content is None else "does not hold keys and values"
        raise ClusterError(
            f"{path} {problem}: expected a cluster file such as cluster/onprem.yaml."
        )
    return content


def _place_of(error: Exception) -> str:
    """Return where a YAML file is wrong, and how."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', '')}"


def _problems(content: dict[str, Any]) -> Iterator[str]:
    provider, auth = content.get("provider"), content.get("auth")
    if not isinstance(provider, dict) or provider.get("type") != "local":
        yield "expected provider: {type: local, head_ip: ..., worker_ips: [...]}"
    elif not provider.get("head_ip") or not isinstance(provider.get("worker_ips"), list):
        yield "provider: expected head_ip, and worker_ips (a list; [] for none)"
    else:
        yield from _address_problems([provider["head_ip"], *provider["worker_ips"]])
    if not isinstance(auth, dict) or not auth.get("ssh_user"):
        yield "auth: expected ssh_user, a user who may log in to all machines"
    elif (
        auth.get("ssh_private_key")
        and not Path(str(auth["ssh_private_key"])).expanduser().is_file()
    ):
        yield (
            f"auth: {auth['ssh_private_key']} does not exist: expected a private key file. "
            "Make one with `ssh-keygen -t ed25519`."
        )
    elif str(auth.get("ssh_private_key", "")).endswith(".pub"):
        yield f"auth: {auth['ssh_private_key']} is a public key: expected the private key file"


def _address_problems(addresses: list[Any]) -> Iterator[str]:
    for place, address in enumerate(addresses):
        if not isinstance(address, str):
            yield f"provider: {address!r} is not an address: expected one such as 10.0.0.1"
        elif "@" in address or address.startswith(":"):
            yield f"provider: {address}: expected only an address, such as 10.0.0.1"
        if address in addresses[:place]:
            yield f"provider: {address} is listed twice: expected each machine once"
        elif str(address).startswith(EXAMPLE_NETWORK):
            yield f"provider: {address} is an example: expected the address of one of your machines"
