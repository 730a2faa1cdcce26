"""The ways in to a cluster: what each of them does, and which one a user's options select."""

import http.server
import shlex
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
import ssh_stand_in
from job_server import Job

from cluster.errors import ClusterError
from cluster.jobs.client import job_client
from cluster.jobs.routes import (
    CLUSTER_FILE,
    ROUTES,
    direct,
    route_to,
    through_ssh,
    tunnel_command,
)
from cluster.onprem.config import ClusterFile
from cluster.onprem.hosts import Ssh

SSH = Ssh(ClusterFile(Path("mine.yaml"), "10.0.0.1", (), "me", Path("/home/me/key")))
FILE = """
provider: {{type: local, head_ip: 10.0.0.1, worker_ips: []}}
auth: {{ssh_user: me}}
head_start_ray_commands: ["ray start --head --dashboard-port={port}"]
"""


# For each way in: the address and the cluster file that a user names for a port of the head.
def by_address(port, folder):
    return f"127.0.0.1:{port}", None


def by_cluster_file(port, folder):
    path = folder / "mine.yaml"
    path.write_text(FILE.format(port=port))
    return None, path


WAYS = {direct: by_address, through_ssh: by_cluster_file}


def test_every_way_in_is_held_to_the_contract():
    assert set(WAYS) == {*ROUTES.values(), through_ssh}


@pytest.fixture
def ssh(programs):
    """An ssh for which every host is this machine."""
    program = f'exec "{sys.executable}" -S "{ssh_stand_in.__file__}" "$@"'
    programs.write("ssh", program)
    return programs


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def way(request, ssh, user, tmp_path):
    """Return the options, an address and a cluster file, of a way in to a port of the head."""
    return lambda port: WAYS[request.param](port, tmp_path)


@pytest.fixture
def options(way, job_server):
    """The options of a way in to a job server."""
    return way(port_of(job_server.url))


def port_of(url):
    return int(url.rpartition(":")[2])


def values(words):
    """Return address and cluster file of an option as it is typed."""
    named = dict(zip(words[::2], words[1::2], strict=True))
    file = named.get("--cluster-file")
    return named.get("--address"), file and Path(file)


class TestWayIn:
    """What every way in to a cluster does."""

    def test_its_options_select_it_again(self, options):
        route = route_to(*options)
        again = route_to(*values(route.options))
        assert (again.name, again.options) == (route.name, route.options)

    def test_its_url_leads_to_the_job_server(self, options):
        with route_to(*options).open() as url:
            assert b'"ray_version"' in urlopen(f"{url}/api/version", timeout=30).read()

    def test_a_job_is_submitted_followed_and_stopped_through_it(
        self, options, job_server, tmp_path, monkeypatch
    ):
        monkeypatch.setattr("cluster.jobs.client.POLL_SECONDS", 0.0)
        job_server.next_output = ("trial 0\n", "trial 1\n")
        job_server.jobs.append(Job("other", ending=("STOPPED", None)))
        (tmp_path / "project").mkdir()
        written = []
        with job_client(*options) as client:
            client.submit(["run"], "wide", tmp_path / "project")
            assert client.follow("wide", written.append) == 0
            client.stop("other", written.append)
            assert [job.status for job in client.jobs()] == ["STOPPED", "SUCCEEDED"]
        assert "".join(written[:2]) == "trial 0\ntrial 1\n"

    def test_the_command_lines_that_it_tells_a_user_select_it(self, options):
        with job_client(*options) as client:
            program, command, *words, job_id = shlex.split(client.command_line("stop", "a job"))
        assert (program, command, job_id) == ("fmnist-cluster", "stop", "a job")
        assert route_to(*values(words)).name == route_to(*options).name

    def test_it_leaves_no_process_behind(self, options):
        before = set(psutil.Process().children(recursive=True))
        with route_to(*options).open():
            pass
        assert set(psutil.Process().children(recursive=True)) <= before

    def test_it_is_closed_when_its_user_fails(self, options):
        before = set(psutil.Process().children(recursive=True))
        with pytest.raises(KeyboardInterrupt), route_to(*options).open():
            raise KeyboardInterrupt
        assert set(psutil.Process().children(recursive=True)) <= before

    def test_a_server_of_another_kind_is_refused_in_one_line(self, way):
        with web_server() as port:
            assert_no_job_server(way(port))

    def test_a_closed_port_is_one_line(self, way):
        with pytest.raises(ClusterError) as error, job_client(*way(closed_port())):
            pass
        [line] = str(error.value).splitlines()
        assert line.startswith(("10.0.0.1: no program listens", "--address 127.0.0.1:"))


def assert_no_job_server(options):
    route = route_to(*options)
    with pytest.raises(ClusterError) as error, job_client(*options):
        pass
    [line] = str(error.value).splitlines()
    assert line.startswith(f"{route.name}: no job server answers (")
    assert line.endswith(route.advice)


class Pages(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@contextmanager
def web_server():
    """A web server that is no job server; yields its port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


# --- Which way in the options select ------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1:1", "http://a", "https://a:1/path"])
def test_an_address_is_the_url_of_the_server(address):
    route = route_to(address, None)
    assert route.name == f"--address {address}"
    with route.open() as url:
        assert url in (address, f"http://{address}")
        assert "://" in url


@pytest.mark.parametrize("address", ["ray://127.0.0.1:9", "http://", ""])
def test_an_address_that_no_way_in_takes_is_refused(address):
    with pytest.raises(ClusterError, match=f"^--address {address}: expected the URL of a job"):
        route_to(address, None)


def test_an_address_and_a_cluster_file_exclude_each_other():
    with pytest.raises(ClusterError, match=r"^--address b:1 and --cluster-file a\.yaml: expected"):
        route_to("b:1", Path("a.yaml"))


def test_the_usual_cluster_file_needs_no_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    CLUSTER_FILE.parent.mkdir()
    CLUSTER_FILE.write_text(FILE.format(port=1))
    route = route_to(None, None)
    assert (route.name, route.options) == ("10.0.0.1", ())


def test_another_cluster_file_is_named_by_its_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(FILE.format(port=1))
    assert route_to(None, Path("mine.yaml")).options == ("--cluster-file", "mine.yaml")


def test_without_options_and_the_usual_file_both_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ClusterError) as error:
        route_to(None, None)
    assert str(error.value) == (
        "cluster/onprem.yaml does not exist: expected a cluster file, as `fmnist-cluster init` writes "
        "it. Name one by --cluster-file, or a job server by --address."
    )


def test_a_cluster_file_that_does_not_exist_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ClusterError, match=r"^'mine\.yaml' cannot be read"):
        route_to(None, Path("mine.yaml"))


# --- The tunnel ---------------------------------------------------------------------------------


def test_the_tunnel_is_between_the_loopbacks_and_has_a_connection_of_its_own():
    words = tunnel_command(SSH, 8265, 41234)
    assert words[0] == "ssh"
    assert words[words.index("-L") + 1] == "127.0.0.1:41234:127.0.0.1:8265"
    assert words[words.index("-i") + 1] == "/home/me/key"
    assert {"ControlMaster=no", "ControlPath=none", "ExitOnForwardFailure=yes"} <= set(words)
    assert words[-2] == "me@10.0.0.1"


@pytest.mark.parametrize("is_open", [True, False])
def test_the_head_prints_whether_its_port_is_open_and_then_waits_for_the_end(is_open):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not is_open:
            server.close()
        remote = subprocess.Popen(
            ["bash", "-c", tunnel_command(SSH, port, 1)[-1]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert remote.stdout.readline() == f"fmnist-cluster: {'up' if is_open else 'down'}\n"
        assert remote.poll() is None, "it waits until its input ends"
        remote.communicate("", timeout=60)
    assert remote.returncode == 0


@pytest.fixture
def open_tunnel(programs, tmp_path):
    """Open a tunnel by an ssh that runs a script; return the message of the error."""

    def opened(script):
        programs.write("ssh", script)
        route = through_ssh(by_cluster_file(8265, tmp_path)[1])
        with pytest.raises(ClusterError) as error, route.open():
            pass
        [line] = str(error.value).splitlines()
        return line

    return opened


def test_a_head_without_a_job_server_says_how_to_start_it(open_tunnel):
    assert open_tunnel("echo fmnist-cluster: down; cat") == (
        "10.0.0.1: no program listens on port 8265: expected Ray's job server. Start it with "
        "`fmnist-cluster up`."
    )


def test_an_ssh_that_may_not_forward_is_named_with_its_reason(open_tunnel):
    line = open_tunnel("echo 'bind: Address in use' >&2; echo 'Could not request forward' >&2")
    assert line.startswith(
        "10.0.0.1: ssh cannot forward the job server's port (bind: Address in use; Could not "
        "request forward): try again."
    )


def test_a_head_that_does_not_answer_is_named_with_the_reason_of_ssh(open_tunnel):
    line = open_tunnel("echo 'ssh: connect to host 10.0.0.1 port 22: No route' >&2; exit 255")
    assert line.startswith("10.0.0.1: does not answer by ssh (ssh: connect to host 10.0.0.1")


def test_a_head_that_says_nothing_is_given_up(open_tunnel, monkeypatch):
    monkeypatch.setattr("cluster.jobs.routes.ANSWER_SECONDS", 0.1)
    line = open_tunnel("exec sleep 600")
    assert line.startswith("10.0.0.1: does not answer by ssh (no message)")


def test_what_a_login_prints_is_not_taken_for_the_answer(programs, tmp_path):
    programs.write("ssh", "echo welcome; echo 'motd fmnist-cluster: up'; cat")
    with through_ssh(by_cluster_file(8265, tmp_path)[1]).open() as url:
        assert url.startswith("http://127.0.0.1:")
