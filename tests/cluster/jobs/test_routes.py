"""What every route to a job server must do, and which route a user's options name."""

import http.server
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from lab import Lab
from stage import staged

from cluster.errors import ClusterError
from cluster.jobs.routes import (
    CLUSTER_FILE,
    ROUTES,
    direct,
    route_to,
    through_ssh,
    tunnel_command,
)
from cluster.onprem.config import JOB_PORT, ClusterFile
from cluster.onprem.hosts import Ssh

PAGE = "this stands for the job server"
PATIENCE_SECONDS = 60
SSH = Ssh(ClusterFile(Path("mine.yaml"), "10.0.0.1", (), "me", Path("/home/me/key")))
FILE = "provider: {type: local, head_ip: 10.0.0.1, worker_ips: []}\nauth: {ssh_user: me}\n"
# Run where the user is, with the options of `fmnist-cluster`. The server is a plain web server,
# which is enough for a route, and which Ray's client must refuse.
CONTRACT = f"""
import sys
from pathlib import Path
from urllib.request import urlopen

from psutil import Process

from cluster.errors import ClusterError
from cluster.jobs.client import job_client
from cluster.jobs.routes import route_to


def values(options):
    named = dict(zip(options[::2], options[1::2]))
    file = named.get("--cluster-file")
    return named.get("--address"), Path(file) if file else None


route = route_to(*values(sys.argv[1:]))
again = route_to(*values(route.options))
assert (again.name, again.options) == (route.name, route.options), "its options name it again"
with route.open() as url:
    assert {PAGE!r} in urlopen(url, timeout=30).read().decode(), "its URL leads to the server"
assert not Process().children(recursive=True), "it leaves nothing behind"
try:
    with job_client(*values(sys.argv[1:])):
        raise AssertionError("what is no job server is refused")
except ClusterError as error:
    [line] = str(error).splitlines()
    assert line.startswith(f"{{route.name}}: no job server answers ("), line
    assert line.endswith(route.advice), line
"""


@contextmanager
def server_here(folder):
    """A server on this machine; yields how a command runs here, and the options that name it."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        run = partial(
            subprocess.run, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
        )
        yield (
            partial(run, cwd=folder),
            sys.executable,
            ("--address", f"127.0.0.1:{server.server_port}"),
        )
        server.shutdown()


@contextmanager
def server_of_a_head(folder):
    """A server on the loopback of another host, which only ssh leads to."""
    if reason := Lab.why_not():
        pytest.skip(f"no host with an ssh server here: {reason}")
    with staged(folder / "lab") as stage:
        head = stage.lab["head"]
        (head.home / PAGE).touch()
        head.start([f"{head.venv}/bin/python", "-m", "http.server", "--directory=/root",
                    "--bind=127.0.0.1", str(JOB_PORT)])  # fmt: skip
        deadline = time.monotonic() + PATIENCE_SECONDS
        listens = ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{JOB_PORT}"]
        while head.run(listens, timeout_seconds=20).returncode:
            assert time.monotonic() < deadline
        stage.file.rename(stage.file.with_name("mine.yaml"))
        yield (
            lambda words: stage.run(*words, seconds=PATIENCE_SECONDS),
            f"{stage.client.venv}/bin/python",
            ("--cluster-file", "cluster/mine.yaml"),
        )


SERVERS = {direct: server_here, through_ssh: server_of_a_head}


def test_every_route_is_held_to_the_contract():
    assert set(SERVERS) == {*ROUTES.values(), through_ssh}


@pytest.mark.parametrize("route", SERVERS)
def test_a_route_leads_to_its_server_is_named_again_and_leaves_nothing_behind(route, tmp_path):
    (tmp_path / PAGE).touch()
    with SERVERS[route](tmp_path) as (run, python, options):
        done = run([python, "-c", CONTRACT, *options])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("address", ["127.0.0.1:1", "http://a", "https://a:1/path"])
def test_an_address_is_that_of_the_server_by_its_scheme(address):
    route = route_to(address, None)
    assert route.name == f"--address {address}"
    with route.open() as url:
        assert url in (address, f"http://{address}")


@pytest.mark.parametrize("address", ["ray://127.0.0.1:9", "http://", ""])
def test_an_address_that_no_route_takes_is_told_in_a_line(address):
    with pytest.raises(ClusterError, match=f"^--address {address}: expected the URL of a job"):
        route_to(address, None)


def test_the_usual_cluster_file_needs_no_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ClusterError, match=r"onprem\.yaml does not exist: expected a cluster"):
        route_to(None, None)
    for path in (CLUSTER_FILE, Path("mine.yaml")):
        path.parent.mkdir(exist_ok=True)
        path.write_text(FILE)
    assert route_to(None, None).options == ()
    assert route_to(None, None).name == "10.0.0.1"
    assert route_to(None, Path("mine.yaml")).options == ("--cluster-file", "mine.yaml")


def test_the_tunnel_is_between_the_loopbacks_and_its_connection_is_its_own():
    words = tunnel_command(SSH, 8265, 41234)
    assert words[0] == "ssh"
    assert words[words.index("-L") + 1] == "127.0.0.1:41234:127.0.0.1:8265"
    assert words[words.index("-i") + 1] == "/home/me/key"
    assert {"ControlMaster=no", "ControlPath=none", "ExitOnForwardFailure=yes"} <= set(words)
    assert words[-2] == "me@10.0.0.1"


@pytest.mark.parametrize("is_open", [True, False])
def test_the_head_says_whether_the_port_is_open_and_waits_for_the_end_of_the_command(is_open):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not is_open:
            server.close()
        remote = subprocess.Popen(
            ["bash", "-c", tunnel_command(SSH, port, 1)[-1]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert remote.stdout.readline() == f"fmnist-cluster: {'up' if is_open else 'down'}\n"
        assert remote.poll() is None
        remote.communicate("", timeout=60)
    assert remote.returncode == 0
