"""Ray's own client of a job server, whose errors come as one line each."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from cluster.errors import ClusterError
from cluster.onprem.launch import TOKEN

CONNECT_SECONDS = 5.0
DEFAULT_PORTS = {"http": 80, "https": 443}
# By each of these a user names a token to Ray (ray/_private/authentication, 2.60).
TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
# Ray 2.60 would take the address in one of these instead of the one that it is given.
ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


class NoServerError(ClusterError):
    """Nothing that answers at an address is a job server."""


class LostError(ClusterError):
    """A job server that has answered does not any more; its jobs go on."""


def prepare_process() -> None:
    """Set what Ray reads from the environment, and silence its log; call before it is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if TOKEN.expanduser().exists() or any(name in os.environ for name in TOKEN_VARIABLES):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    for name in ADDRESS_VARIABLES:
        os.environ.pop(name, None)
    # What Ray packs and leaves out, on many lines.
    logging.disable(logging.WARNING)


def connected(url: str, where: str) -> Any:
    """Return Ray's ``JobSubmissionClient`` of a job server that takes this user's word.

    Args:
        url: Where the server is.
        where: What it is called in messages.

    Raises:
        ClusterError: None answers there, or it takes no word from this user.
    """
    _check_reachable(url, where)
    prepare_process()
    from ray.job_submission import JobSubmissionClient

    with asked(where):
        try:
            client = JobSubmissionClient(url)
            client.list_jobs()  # Ray tells its version without a token, but nothing else
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            if "Request failed" in str(error):
                raise
            raise _no_server(where, error) from error
    return client


@contextmanager
def asked(where: str) -> Iterator[None]:
    """Turn what Ray's client raises into a line.

    Raises:
        ClusterError: The server refuses.
        LostError: It does not answer any more.
    """
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise ClusterError(
            f"{where}: the job server does not know this user: expected the token of its machines "
            f"in {TOKEN} (or RAY_AUTH_TOKEN), and RAY_AUTH_MODE=token."
        ) from error
    except OSError as error:  # as are all errors of requests
        raise LostError(f"{where}: the job server does not answer any more.") from error
    except RuntimeError as error:
        raise ClusterError(f"{where}: the job server refuses: {_first_line(error)}") from error


def web_address(address: str) -> str:
    """Return the URL that an address of a job server means.

    Raises:
        ClusterError: It means none.
    """
    url = address if "://" in address else f"http://{address}"
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ClusterError(
            f"--address {address}: expected that of a job server, such as http://127.0.0.1:8265."
        )
    return url


def _check_reachable(url: str, where: str) -> None:
    # Ray's client waits as long as the network does: for minutes.
    parts = urlsplit(url)
    try:
        port = parts.port or DEFAULT_PORTS[parts.scheme]
        socket.create_connection((parts.hostname or "", port), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise _no_server(where, error) from error


def _no_server(where: str, error: Exception) -> NoServerError:
    return NoServerError(
        f"{where}: no job server answers there ({_first_line(error)}): expected that of a Ray "
        "with ray[default], on port 8265 of its head unless it was told otherwise."
    )


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line), type(error).__name__)
