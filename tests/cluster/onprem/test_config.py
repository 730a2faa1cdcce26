import stat

import pytest

from cluster import nodes
from cluster.errors import ClusterError
from cluster.nodes import Node
from cluster.onprem import launch
from cluster.onprem.config import expected_nodes, read_cluster_file
from cluster.onprem.launch import make_token, wait_for_nodes
from cluster.submit import main

GOOD = "provider: {type: local, head_ip: 10.0.0.1, worker_ips: [10.0.0.2]}\nauth: {ssh_user: me}\n"


def written(folder, text):
    path = folder / "cluster.yaml"
    path.write_text(text)
    return path


def test_the_machines_of_a_file_the_head_first(tmp_path):
    file = read_cluster_file(written(tmp_path, GOOD))
    assert file.hosts == ("10.0.0.1", "10.0.0.2")
    assert (file.user, file.key) == ("me", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is not valid YAML "),
        ("- a", "expected a cluster file such as"),
        ("provider: {type: aws}\nauth: {ssh_user: me}", "expected provider: {type: local"),
        ("provider: {type: local, head_ip: a}\nauth: {ssh_user: me}", "expected head_ip, and worker_ips"),
        (GOOD.replace("10.0.0.2", "10.0.0.1"), "10.0.0.1 is listed twice"),
        (GOOD.replace("{ssh_user: me}", "{}"), "expected ssh_user"),
        (GOOD.replace("me}", "me, ssh_private_key: /no/key}"), "/no/key does not exist"),
        (GOOD.replace("10.0.0.2", "me@10.0.0.2"), "me@10.0.0.2: expected only an address"),
        (GOOD.replace("[10.0.0.2]", "[7]"), "7 is not an address"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_in_a_line(tmp_path, text, said):
    with pytest.raises(ClusterError, match=said) as raised:
        read_cluster_file(written(tmp_path, text))
    assert len(str(raised.value).splitlines()) == 1


def test_the_file_as_it_comes_says_what_to_edit(tmp_path):
    with pytest.raises(ClusterError) as raised:
        read_cluster_file(tmp_path / "none.yaml")
    assert "cannot be read (No such file or directory)" in str(raised.value)
    shipped = launch.Path(__file__).parents[3] / "cluster" / "onprem.yaml"
    with pytest.raises(ClusterError) as raised:
        read_cluster_file(shipped)
    told = str(raised.value).splitlines()
    assert [line.split(" ")[2] for line in told[:3]] == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


def test_the_file_as_it_comes_is_one_that_ray_takes():
    # Ray's own check of the keys, which `ray up` makes.
    import yaml
    from ray.autoscaler._private.util import prepare_config, validate_config

    shipped = launch.Path(__file__).parents[3] / "cluster" / "onprem.yaml"
    content = yaml.safe_load(shipped.read_text())
    validate_config(prepare_config(content))
    with pytest.raises(Exception, match="unknown"):
        validate_config(prepare_config(content | {"unknown": 1}))


def test_the_head_knows_how_many_machines_there_are(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expected_nodes() is None
    (tmp_path / "ray_bootstrap_config.yaml").write_text(GOOD)
    assert expected_nodes() == 2


def test_a_token_is_made_once_for_its_user_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    told = []
    make_token(told.append)
    token = tmp_path / ".ray" / "auth_token"
    first = token.read_text()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(first) == 64
    token.chmod(0o644)  # as Ray itself leaves it
    make_token(told.append)
    assert token.read_text() == first
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(told) == 1
    assert first not in told[0]


def test_nodes_that_do_not_join_are_named(monkeypatch):
    monkeypatch.setattr(nodes, "POLL_SECONDS", 0.0)
    here = [Node("10.0.0.1", 1, 0, 1.0)]
    told = []
    assert wait_for_nodes(lambda: here, ("10.0.0.1",), told.append, seconds=0) == here
    assert told == ["1 of 1 nodes have joined"]
    with pytest.raises(ClusterError, match=r"^10\.0\.0\.2: has not joined in 0 s\. See /tmp/ray"):
        wait_for_nodes(lambda: here, ("10.0.0.1", "10.0.0.2"), told.append, seconds=0)
    with pytest.raises(ClusterError, match=r"^1 of 2 nodes have not joined .* Joined: 10\.0\.0\.1"):
        wait_for_nodes(lambda: here, 2, told.append, seconds=0)


def test_nothing_submitted_is_said(capsys):
    assert main([]) == 2
    assert "error: no command: expected one of fmnist-search" in capsys.readouterr().out
