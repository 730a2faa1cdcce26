"""The cluster file for AWS: against Ray's own schema, and what Ray makes of it."""

import copy
import json
import os
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.command_runner import DockerCommandRunner
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig

from cluster import submit
from cluster.nodes import Node

CLUSTER = Path(__file__).resolve().parents[2] / "cluster"
FILE = CLUSTER / "aws.yaml"


@cache
def content():
    """What stands in the file; treat as read-only."""
    return yaml.safe_load(FILE.read_text())


def types():
    return content()["available_node_types"]


def test_the_file_is_one_that_ray_takes():
    validate_config(prepare_config(copy.deepcopy(content())))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(lambda file: file.update(max_worker=1), "max_worker", id="misspelt"),
        pytest.param(lambda file: file.update(max_workers="8"), "'8' is not of type", id="a-text"),
        pytest.param(lambda file: file["docker"].update(run_option=[]), "run_option", id="misspelt-below"),
        pytest.param(lambda file: file["available_node_types"]["cpu"].update(min_worker=0), "min_worker", id="misspelt-type"),
        pytest.param(lambda file: file["available_node_types"]["gpu"].pop("node_config"), "'node_config' is a required", id="no-machine"),
        pytest.param(lambda file: file.update(head_node_type="none"), "head_node_type", id="no-head"),
        pytest.param(lambda file: file["available_node_types"]["cpu"].update(min_workers=9), "sum of `min_workers`", id="too-many"),
    ],
)  # fmt: skip
def test_a_file_with_a_mistake_is_refused(spoil, message):
    spoilt = json.loads(json.dumps(content()))  # in which nothing is shared by an alias
    spoil(spoilt)
    with pytest.raises(Exception, match=message):
        validate_config(prepare_config(spoilt))


def test_the_head_takes_no_trials_and_idle_machines_are_given_back():
    assert types()["head"]["resources"] == {"CPU": 0}
    workers = {name: one for name, one in types().items() if name != content()["head_node_type"]}
    assert set(workers) == {"cpu", "cpu_spot", "gpu"}
    assert {one["min_workers"] for one in workers.values()} == {0}
    assert 0 < content()["idle_timeout_minutes"] <= 10
    assert all(one["max_workers"] <= content()["max_workers"] for one in workers.values())


def test_a_spot_machine_is_preferred_and_differs_in_nothing_else():
    spot, kept = (types()[name] for name in ("cpu_spot", "cpu"))
    assert spot["node_config"] == kept["node_config"] | {
        "InstanceMarketOptions": {"MarketType": "spot"}
    }
    assert spot["priority"] > kept.get("priority", 0)


def test_each_machine_has_the_image_that_suits_it():
    version = tomllib.loads((CLUSTER.parent / "pyproject.toml").read_text())["project"]["version"]
    image = f"registry.example.com/fmnist-search:{version}"
    ray = AutoscalingConfig(copy.deepcopy(content()), skip_content_hash=True)
    images = {name: ray.get_docker_config(name)["image"] for name in types()}
    assert images == {"head": image, "cpu": image, "cpu_spot": image, "gpu": f"{image}-gpu"}


def test_the_project_is_copied_as_to_machines_of_ones_own():
    own = yaml.safe_load((CLUSTER / "onprem.yaml").read_text())
    for key in ("file_mounts", "rsync_exclude", "cluster_name"):
        assert content()[key] == own[key]
    assert Path("~/fmnist-search").expanduser() == submit.PROJECT
    assert "-e RAY_AUTH_MODE=token" in content()["docker"]["run_options"]
    assert not re.search(r"[0-9a-f]{32}", FILE.read_text())


# What the machine answers when Ray's command runner asks it something.
ANSWERS = {
    "command -v docker": "/usr/bin/docker",
    ".State.Running": "",
    ".Config.Env": '["PATH=/usr/local/bin", "HOME=/home/ray"]',
    ".Runtimes": "map[runc:{}]",
    "/proc/meminfo": "MemAvailable: 8000000 kB",
}


class Machine:
    """Stands for a machine: keeps what Ray would have run on it by ssh."""

    def __init__(self):
        self.commands = []

    def check_output(self, command, **_):
        return next((a for part, a in ANSWERS.items() if part in command[-1]), "").encode()

    def check_call(self, command, **_):
        # ssh has the shell there read what follows the machine's name.
        self.commands.append(command[command.index("ubuntu@192.0.2.1") + 1 :])

    def external_ip(self, node):
        return "192.0.2.1"

    internal_ip = external_ip


def started(node_type, folder):
    """Return the words by which the container of a machine is started, as its shell understands them."""
    machine = Machine()
    runner = DockerCommandRunner(
        AutoscalingConfig(copy.deepcopy(content()), skip_content_hash=True).get_docker_config(node_type),
        log_prefix="", node_id="1", provider=machine, auth_config=content()["auth"],
        cluster_name=content()["cluster_name"], process_runner=machine, use_internal_ip=False,
    )  # fmt: skip
    is_head = node_type == content()["head_node_type"]
    runner.run_init(as_head=is_head, file_mounts=content()["file_mounts"], sync_run_yet=True)
    [command] = [" ".join(one) for one in machine.commands if "docker run" in one[-1]]
    docker = folder / "docker"
    docker.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    docker.chmod(0o755)
    (folder / ".bashrc").write_text(f"PATH={folder}:$PATH\n")
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True,
        env=os.environ | {"HOME": str(folder)},
    )  # fmt: skip
    return done.stdout.splitlines()


def mounts(words):
    """The folders of the machine by those of the container."""
    pairs = [words[place + 1] for place, word in enumerate(words) if word == "-v"]
    return {inside: outside for outside, inside in (pair.rsplit(":", 1) for pair in pairs)}


def test_runs_lie_on_the_disk_of_the_head_apart_from_what_ray_copies_there(tmp_path):
    words = started("head", tmp_path)
    assert words[0] == "run"
    folders = mounts(words)
    assert folders["/runs"] == str(tmp_path / "runs")  # ~ of the machine's user
    assert "mkdir -p ~/runs" in content()["initialization_commands"]
    project = folders["/home/ray/fmnist-search"]
    assert project == "/tmp/ray_tmp_mount/fmnist-search/~/fmnist-search"
    # `ray rsync-down` writes what it fetches to a folder of the machine first, by the path that is
    # asked for: below a mounted one it would write over the files of a search that runs.
    assert "/tmp/ray_tmp_mount/fmnist-search/runs" not in {project, *folders.values()}
    assert folders["/home/ray/.ray/auth_token"].endswith("/.ray/auth_token")
    assert {"RAY_AUTH_MODE=token", "nofile=65536:65536"} <= set(words)


def test_a_machine_with_a_gpu_gives_it_to_its_container(tmp_path):
    words = started("gpu", tmp_path)
    assert words[words.index("--gpus") + 1] == "all"
    assert "/runs" not in mounts(words)
    assert "--gpus" not in started("cpu_spot", tmp_path)


@pytest.mark.usefixtures("kept_ctrl_c")
def test_a_rented_head_waits_for_itself_alone_since_others_come_when_trials_wait(
    user, console_commands, capfd
):
    (user / "ray_bootstrap_config.yaml").write_text(FILE.read_text())
    console_commands.write("fmnist-search", "")
    head = Node("192.0.2.1", 0, 0, 1.0)
    status = submit.main(["--help"], list_nodes=lambda: [head], project=user, join_seconds=0)
    assert status == 0
    output = capfd.readouterr().out
    assert output.startswith("1 of 1 nodes have joined\n")
    assert "warning" not in output


def test_the_commands_of_the_file_are_ones_that_a_shell_understands():
    keys = ("initialization_commands", "setup_commands", "head_start_ray_commands", "worker_start_ray_commands")  # fmt: skip
    for command in (command for key in keys for command in content()[key]):
        subprocess.run(["bash", "-n", "-c", command], check=True)


@pytest.mark.parametrize("times", [1, 2])
def test_the_runs_of_the_project_are_those_on_the_disk_however_often_it_is_set_up(tmp_path, times):
    [command] = content()["setup_commands"]
    (tmp_path / "fmnist-search").mkdir()
    for _ in range(times):
        subprocess.run(["bash", "-c", command], check=True, env={"HOME": str(tmp_path)})
    assert (tmp_path / "fmnist-search" / "runs").readlink() == Path("/runs")
    assert len(list((tmp_path / "fmnist-search").iterdir())) == 1
