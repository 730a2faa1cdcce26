import subprocess
from pathlib import Path

import pytest

from cluster.jobs.routes import tunnel_command
from cluster.onprem.config import ClusterFile
from cluster.onprem.hosts import Ssh

SSH = Ssh(ClusterFile(Path("mine.yaml"), "10.0.0.1", (), "me", Path("/home/me/key")))


def test_the_tunnel_is_between_the_loopbacks_and_its_connection_is_its_own():
    words = tunnel_command(SSH, 8265, 41234)
    assert words[0] == "ssh"
    assert words[words.index("-L") + 1] == "127.0.0.1:41234:127.0.0.1:8265"
    assert words[words.index("-i") + 1] == "/home/me/key"
    assert {"ControlMaster=no", "ControlPath=none", "ExitOnForwardFailure=yes"} <= set(words)
    assert words[-2] == "me@10.0.0.1"


@pytest.mark.parametrize("is_open", [True, False])
def test_the_head_says_whether_the_port_is_open_and_waits_for_the_end_of_the_command(is_open):
    import socket

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
