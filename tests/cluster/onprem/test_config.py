"""The cluster file of the user's own machines."""

from pathlib import Path

import pytest

from cluster.errors import ClusterError
from cluster.onprem.config import expected_nodes, read_cluster_file

SHIPPED = Path(__file__).parents[3] / "cluster" / "onprem.yaml"
GOOD = "provider: {type: local, head_ip: 10.0.0.1, worker_ips: [10.0.0.2]}\nauth: {ssh_user: me}\n"


@pytest.fixture
def read(tmp_path):
    """Read a cluster file of some text."""

    def read_text(text):
        path = tmp_path / "cluster.yaml"
        path.write_text(text)
        return read_cluster_file(path)

    return read_text


@pytest.fixture
def problems(read, tmp_path):
    """Return the lines of the error of a cluster file, without its path."""

    def lines_of(text):
        with pytest.raises(ClusterError) as error:
            read(text)
        path = str(tmp_path / "cluster.yaml")
        return [line.removeprefix(path) for line in str(error.value).splitlines()]

    return lines_of


# --- What a file says ---------------------------------------------------------------------------


def test_the_machines_of_a_file_are_the_head_and_then_the_workers(read):
    file = read(GOOD)
    assert (file.head, file.workers) == ("10.0.0.1", ("10.0.0.2",))
    assert file.hosts == ("10.0.0.1", "10.0.0.2")


def test_a_cluster_may_have_no_workers(read):
    assert read(GOOD.replace("[10.0.0.2]", "[]")).hosts == ("10.0.0.1",)


def test_the_user_of_a_file_logs_in_by_a_key_that_ssh_chooses_unless_one_is_named(
    read, tmp_path, monkeypatch
):
    assert (read(GOOD).user, read(GOOD).key) == ("me", None)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "key").touch()
    named = read(GOOD.replace("me}", "me, ssh_private_key: ~/key}"))
    assert named.key == tmp_path / "key"


def test_the_ports_of_a_head_are_rays_own(read):
    assert (read(GOOD).port, read(GOOD).job_port) == (6379, 8265)


@pytest.mark.parametrize("sign", ["=", " "])
def test_the_ports_of_a_head_are_those_of_its_start_commands(read, sign):
    start = f"['ray stop', 'ray start --head --port{sign}7000 --dashboard-port{sign}7001']"
    file = read(f"{GOOD}head_start_ray_commands: {start}\n")
    assert (file.port, file.job_port) == (7000, 7001)


# --- What is wrong with a file ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", " is not valid YAML (line 1, column 5: "),
        ("", " is empty: expected a cluster file such as"),
        ("- a", " does not hold keys and values: expected a cluster file such as"),
        ("provider: {type: aws}\nauth: {ssh_user: me}", ": expected provider: {type: local"),
        ("auth: {ssh_user: me}", ": expected provider: {type: local"),
        ("provider: {type: local, head_ip: a}\nauth: {ssh_user: me}", ": provider: expected head_ip, and worker_ips"),
        (GOOD.replace("head_ip: 10.0.0.1, ", ""), ": provider: expected head_ip, and worker_ips"),
        (GOOD.replace("10.0.0.2", "10.0.0.1"), ": provider: 10.0.0.1 is listed twice"),
        (GOOD.replace("10.0.0.2", "192.0.2.7"), ": provider: 192.0.2.7 is an example"),
        (GOOD.replace("10.0.0.2", "me@10.0.0.2"), ": provider: me@10.0.0.2: expected only an address"),
        (GOOD.replace("10.0.0.2", "':22'"), ": provider: :22: expected only an address"),
        (GOOD.replace("[10.0.0.2]", "[7]"), ": provider: 7 is not an address"),
        (GOOD.replace("{ssh_user: me}", "{}"), ": auth: expected ssh_user"),
        (GOOD.replace("auth: {ssh_user: me}", ""), ": auth: expected ssh_user"),
        (GOOD.replace("me}", "me, ssh_private_key: /no/key}"), ": auth: /no/key does not exist"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_line(problems, text, problem):
    [line] = problems(text)
    assert line.startswith(problem)


def test_a_public_key_is_not_taken_for_a_private_one(problems, tmp_path):
    (tmp_path / "key.pub").touch()
    [line] = problems(GOOD.replace("me}", f"me, ssh_private_key: {tmp_path}/key.pub}}"))
    assert line.endswith("key.pub is a public key: expected the private key file")


def test_all_problems_of_a_file_are_named_at_once(problems):
    lines = problems(GOOD.replace("10.0.0.2", "7, 10.0.0.1").replace("{ssh_user: me}", "{}"))
    assert [line.split(":")[1] for line in lines] == [" provider", " provider", " auth"]


def test_a_file_that_is_not_text_is_one_line(problems, tmp_path):
    (tmp_path / "cluster.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ClusterError, match=r"is not valid YAML \('utf-8' codec") as error:
        read_cluster_file(tmp_path / "cluster.yaml")
    assert len(str(error.value).splitlines()) == 1


def test_a_file_that_does_not_exist_is_named_with_where_one_is_found(tmp_path):
    with pytest.raises(ClusterError) as error:
        read_cluster_file(tmp_path / "none.yaml")
    assert str(error.value) == (
        f"'{tmp_path}/none.yaml' cannot be read (No such file or directory): expected a cluster "
        "file such as cluster/onprem.yaml in the folder of the project. `fmnist-cluster init` writes one."
    )


# --- The file that is shipped -------------------------------------------------------------------


def test_the_shipped_file_says_which_addresses_to_edit():
    with pytest.raises(ClusterError) as error:
        read_cluster_file(SHIPPED)
    lines = str(error.value).splitlines()
    assert [line.split(" ")[2] for line in lines[:3]] == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


def test_the_shipped_file_is_one_that_ray_takes():
    # Ray's own check of the keys, which `ray up` makes.
    import yaml
    from ray.autoscaler._private.util import prepare_config, validate_config

    content = yaml.safe_load(SHIPPED.read_text())
    validate_config(prepare_config(content))
    with pytest.raises(Exception, match="unknown"):
        validate_config(prepare_config(content | {"unknown": 1}))


# --- On the head --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        (None, None),
        (GOOD, 2),
        (GOOD.replace("[10.0.0.2]", "[]"), 1),
        ("provider: {type: aws}\n", None),
        ("cluster_name: mine\n", None),
    ],
    ids=["no file", "own machines", "head alone", "rented machines", "no provider"],
)
def test_the_head_knows_how_many_machines_its_file_names(tmp_path, monkeypatch, text, nodes):
    monkeypatch.setenv("HOME", str(tmp_path))
    if text is not None:
        (tmp_path / "ray_bootstrap_config.yaml").write_text(text)
    assert expected_nodes() == nodes
