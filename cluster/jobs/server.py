"""The connection to a job server: Ray's own client, whose errors become one line each."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from cluster.errors import ClusterError
from cluster.onprem.config import TOKEN

CONNECT_SECONDS = 5.0
DEFAULT_PORTS = {"http": 80, "https": 443}
# Variables by which a user gives Ray a token (ray/_private/authentication, Ray 2.60).
TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
# Ray 2.60 prefers the address in one of these to the address that it is called with.
ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


class LostError(ClusterError):
    """A job server that has answered does not any more; its jobs go on."""


def prepare_process() -> None:
    """Set the variables that Ray reads, and silence its log; call this before importing Ray."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if TOKEN.expanduser().exists() or any(name in os.environ for name in TOKEN_VARIABLES):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    for name in ADDRESS_VARIABLES:
        os.environ.pop(name, None)
    # Ray logs on many lines what it packs and leaves out.
    logging.disable(logging.WARNING)


def connect(url: str, name: str, advice: str) -> Any:
    """Return Ray's ``JobSubmissionClient`` of a job server that knows this user's token.

    Args:
        url: Of the server.
        name: What messages call the server.
        advice: A sentence on what else may be wrong if no server answers.
    """
    _check_reachable(url, name, advice)
    prepare_process()
    from ray.job_submission import JobSubmissionClient

    with translated_errors(name):
        try:
            client = JobSubmissionClient(url)
            client.list_jobs()  # the line above asks for the version, which needs no token
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            if "Request failed" in str(error):
                raise
            raise _no_server(name, error, advice) from error
    return client


@contextmanager
def translated_errors(name: str) -> Iterator[None]:
    """Turn the exceptions of Ray's client into errors of one line."""
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise ClusterError(
            f"{name}: the job server does not know this user: expected the token of its machines "
            f"in {TOKEN} (or RAY_AUTH_TOKEN), and RAY_AUTH_MODE=token."
        ) from error
    except OSError as error:  # the base class of all errors of requests
        raise LostError(f"{name}: the job server does not answer any more.") from error
    except RuntimeError as error:
        raise ClusterError(f"{name}: the job server refuses: {_first_line(error)}") from error


def _check_reachable(url: str, name: str, advice: str) -> None:
    # Ray's client has no timeout of its own: it waits for minutes.
    parts = urlsplit(url)
    try:
        port = parts.port or DEFAULT_PORTS[parts.scheme]
        socket.create_connection((parts.hostname or "", port), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise _no_server(name, error, advice) from error


def _no_server(name: str, error: Exception, advice: str) -> ClusterError:
    message = (
        f"{name}: no job server answers there ({_first_line(error)}): expected that of a Ray "
        f"with ray[default], on port 8265 of its head unless it was told otherwise. {advice}"
    )
    return ClusterError(message.rstrip())


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line), type(error).__name__)
