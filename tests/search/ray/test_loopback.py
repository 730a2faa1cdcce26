"""A local run is not open to the network."""

import ipaddress
import subprocess
import sys

import pytest

# A network of its own, with an interface that has a route, as a machine in an office has.
ROUTED = (
    "ip link set lo up && ip link add d0 type veth peer name d1 && ip addr add 10.9.9.1/24 dev d0 "
    '&& ip link set d0 up && ip link set d1 up && ip route add default via 10.9.9.2 && exec "$@"'
)
ISOLATE = ("unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
USER = ("--user", "--map-root-user")
LISTENING = """
import os, psutil
from search.ray.runtime import local_cluster
with local_cluster(1):
    import ray
    ray.get(ray.remote(lambda: None).remote())
    own = {one.pid for one in psutil.Process().children(recursive=True)} | {os.getpid()}
    for one in psutil.net_connections("inet"):
        if one.status == psutil.CONN_LISTEN and one.pid in own:
            print(one.laddr.ip)
"""


def isolated(*command):
    for users in ((), USER):
        words = [ISOLATE[0], *users, *ISOLATE[1:], "sh", "-c", ROUTED, "sh"]
        if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
            return subprocess.run(
                [*words, *command], capture_output=True, text=True, timeout=200, check=False
            )
    pytest.skip("no network of its own can be made here, so none with a route")


def test_all_ports_of_a_local_ray_are_on_loopback():
    done = isolated(sys.executable, "-c", LISTENING)
    assert done.returncode == 0, done.stderr
    addresses = [ipaddress.ip_address(line) for line in done.stdout.split()]
    assert len(addresses) > 3
    assert all((getattr(one, "ipv4_mapped", None) or one).is_loopback for one in addresses)
