"""The manifests for KubeRay: against its schema, where that is there, and against themselves."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache

import alone
import crd
import jsonschema
import pytest
import yaml

from results.record.journal import parse

ROOT = crd.ROOT
CLUSTER = ROOT / "cluster"
SEARCH_SECONDS = 120

has_schema = pytest.mark.skipif(crd.why_not() is not None, reason=crd.why_not() or "")


@cache
def manifests():
    """The parts of both files, by kind; treat as read-only."""
    texts = [(CLUSTER / name).read_text() for name in ("kuberay.yaml", "kuberay-runs.yaml")]
    parts = [part for text in texts for part in yaml.safe_load_all(text)]
    return {part["kind"]: part for part in parts}


def rayjob():
    return manifests()["RayJob"]["spec"]


def groups():
    return rayjob()["rayClusterSpec"]["workerGroupSpecs"]


def ray_pods():
    """The pods of Ray: the head's, and one of each group of workers."""
    cluster = rayjob()["rayClusterSpec"]
    return [one["template"]["spec"] for one in (cluster["headGroupSpec"], *groups())]


def all_pods():
    return [*ray_pods(), rayjob()["submitterPodTemplate"]["spec"], manifests()["Pod"]["spec"]]


@cache
def rayjob_schema():
    return crd.rayjob_schema()


def pod_schema():
    schema = rayjob_schema()["properties"]["spec"]["properties"]["submitterPodTemplate"]
    return schema["properties"]["spec"]


def claim_schema():
    volumes = pod_schema()["properties"]["volumes"]["items"]["properties"]
    return volumes["ephemeral"]["properties"]["volumeClaimTemplate"]["properties"]["spec"]


def mistakes(part, schema):
    errors = jsonschema.Draft7Validator(schema).iter_errors(part)
    return [f"{error.json_path}: {error.message}" for error in errors]


@has_schema
def test_every_manifest_is_one_that_the_schema_takes():
    assert mistakes(manifests()["RayJob"], rayjob_schema()) == []
    assert mistakes(manifests()["Pod"]["spec"], pod_schema()) == []
    assert mistakes(manifests()["PersistentVolumeClaim"]["spec"], claim_schema()) == []


HEAD = "$.spec.rayClusterSpec.headGroupSpec"


@has_schema
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(
            lambda spec: spec.update(shutdownAfterJobFinish=True),
            "$.spec: Additional properties are not allowed ('shutdownAfterJobFinish' was unexpected)",
            id="misspelt",
        ),
        pytest.param(
            lambda spec: spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0].update(volumeMount=[]),
            f"{HEAD}.template.spec.containers[0]: Additional properties are not allowed ('volumeMount' was unexpected)",
            id="misspelt-in-a-pod",
        ),
        pytest.param(
            lambda spec: spec.update(backoffLimit="3"),
            "$.spec.backoffLimit: '3' is not of type 'integer'",
            id="a-text-for-a-number",
        ),
        pytest.param(
            lambda spec: spec["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
            f"{HEAD}.rayStartParams['num-cpus']: 0 is not of type 'string'",
            id="a-number-for-a-text",
        ),
        pytest.param(
            lambda spec: spec["rayClusterSpec"]["workerGroupSpecs"][1].pop("template"),
            "$.spec.rayClusterSpec.workerGroupSpecs[1]: 'template' is a required property",
            id="no-template",
        ),
        pytest.param(
            lambda spec: spec["rayClusterSpec"]["authOptions"].update(mode="password"),
            "$.spec.rayClusterSpec.authOptions.mode: 'password' is not one of ['disabled', 'token']",
            id="no-such-mode",
        ),
        pytest.param(
            lambda spec: spec["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["resources"]["limits"].update(memory="10 GB"),
            "$.spec.rayClusterSpec.workerGroupSpecs[0].template.spec.containers[0].resources.limits.memory: '10 GB' does not match",
            id="no-amount",
        ),
    ],
)  # fmt: skip
def test_a_manifest_with_a_mistake_is_refused(spoil, message):
    spoilt = json.loads(json.dumps(manifests()["RayJob"]))  # in which nothing is shared by an alias
    spoil(spoilt["spec"])
    [mistake] = mistakes(spoilt, rayjob_schema())
    assert mistake.startswith(message)


def test_the_strict_schema_allows_other_keys_only_where_it_says_so():
    schema = crd.strict(
        {
            "properties": {
                "open": {"properties": {"a": {}}, "x-kubernetes-preserve-unknown-fields": True},
                "named": {"type": "object", "additionalProperties": {"type": "string"}},
                "none": {"type": "integer", "nullable": True},
            }
        }
    )
    assert mistakes({"open": {"b": 1}, "named": {"any": "text"}, "none": None}, schema) == []
    assert mistakes({"named": {"any": 1}}, schema) == ["$.named.any: 1 is not of type 'string'"]
    assert len(mistakes({"other": 1}, schema)) == 1


def test_every_mount_has_its_volume_and_every_pod_of_ray_the_runs():
    claim = manifests()["PersistentVolumeClaim"]["metadata"]["name"]
    for pod in (*ray_pods(), manifests()["Pod"]["spec"]):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert set(mounted.values()) == set(volumes)
            assert volumes[mounted["/runs"]]["persistentVolumeClaim"] == {"claimName": claim}
    for pod in ray_pods():
        [memory] = [one["emptyDir"] for one in pod["volumes"] if "emptyDir" in one]
        assert memory["medium"] == "Memory"


def test_the_object_store_fits_into_the_shared_memory_and_that_into_the_pod():
    cluster = rayjob()["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *groups()):
        pod = group["template"]["spec"]
        [memory] = [one["emptyDir"]["sizeLimit"] for one in pod["volumes"] if "emptyDir" in one]
        limit = pod["containers"][0]["resources"]["limits"]["memory"]
        store = int(group["rayStartParams"]["object-store-memory"])
        assert store < gibibytes(memory) * 2**30 < gibibytes(limit) * 2**30 / 2


def gibibytes(text):
    assert text.endswith("Gi")
    return int(text.removesuffix("Gi"))


def test_the_head_takes_no_trials_and_worker_pods_come_when_trials_wait():
    cluster = rayjob()["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert [group["minReplicas"] for group in groups()] == [0, 0]


def test_no_container_is_root_or_can_become_it():
    for pod in all_pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 1000
    rights = [one["securityContext"] for pod in all_pods() for one in pod["containers"]]
    rights.append(rayjob()["rayClusterSpec"]["autoscalerOptions"]["securityContext"])
    for one in rights:
        assert one == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_the_version_of_ray_is_that_of_the_lock():
    [version] = re.findall(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert rayjob()["rayClusterSpec"]["rayVersion"] == version


def test_the_images_are_of_this_version_and_the_gpus_have_the_one_with_cuda():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    image = f"registry.example.com/fmnist-search:{version}"
    named = [[one["image"] for one in pod["containers"]] for pod in all_pods()]
    assert named == [[image], [image], [f"{image}-gpu"], [image], [image]]
    page = (ROOT / "docs" / "cluster" / "kubernetes.md").read_text()
    assert set(re.findall(r"registry\.example\.com/\S+", page)) == {image, f"{image}-gpu"}
    limits = [pod["containers"][0]["resources"]["limits"] for pod in ray_pods()]
    assert [limit.get("nvidia.com/gpu") for limit in limits] == [None, None, 1]


def test_the_token_is_named_by_the_secret_that_the_comment_makes_and_stands_in_no_file():
    text = (CLUSTER / "kuberay.yaml").read_text()
    options = rayjob()["rayClusterSpec"]["authOptions"]
    [secret] = re.findall(r"create secret generic (\S+) --from-literal=auth_token=\$\(", text)
    assert options == {"mode": "token", "secretName": secret}
    assert not re.search(r"[0-9a-f]{32}", text)


def words():
    """What the job runs, as the shell takes it apart."""
    return shlex.split(rayjob()["entrypoint"])


def test_the_job_asks_for_as_many_cpus_and_gpus_as_all_pods_have():
    options = dict(zip(words(), words()[1:], strict=False))
    limits = [
        (group["maxReplicas"], group["template"]["spec"]["containers"][0]["resources"]["limits"])
        for group in groups()
    ]
    assert int(options["--workers"]) == sum(count * int(limit["cpu"]) for count, limit in limits)
    gpus = sum(count * limit.get("nvidia.com/gpu", 0) for count, limit in limits)
    assert int(options["--gpus"]) == gpus


def test_the_job_is_a_command_of_fmnist_search_that_may_be_run_again(commands):
    # A shell that stays between would end at SIGTERM, and Ray would kill the search then.
    assert words()[:3] == ["exec", "fmnist-search", "run"]
    page = subprocess.run(
        [commands / "fmnist-search", "run", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for option in (word for word in words() if word.startswith("--")):
        assert re.search(rf"^\s+{option}\b", page, re.MULTILINE), f"run has no {option}"
    assert "--or-resume" in words()
    assert rayjob()["backoffLimit"] > 0


def test_ray_waits_for_the_search_to_end_before_the_pod_is_taken_away():
    pod = rayjob()["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    [wait] = pod["containers"][0]["env"]
    assert wait["name"] == "RAY_JOB_STOP_WAIT_TIME_S"
    assert int(wait["value"]) < pod["terminationGracePeriodSeconds"]


# Process 1 of the pod: starts the search, runs the hook once a file exists, and prints how both end.
POD = """
import json, pathlib, subprocess, sys, time
pod = json.load(sys.stdin)
ready = pathlib.Path(pod["ready"])
search = subprocess.Popen(pod["search"], stdout=sys.stderr)
while not (ready.exists() and pod["mark"].encode() in ready.read_bytes()):
    assert search.poll() is None, search.returncode
    time.sleep(0.01)
hook = subprocess.run(pod["hook"], stdout=sys.stderr, timeout=pod["seconds"])
has_ended = search.poll() is not None
pathlib.Path(pod["over"]).touch()
status = search.wait(pod["seconds"])
json.dump({"hook": hook.returncode, "ended": has_ended, "search": status}, sys.stdout)
"""
# Stands in for a search: ends a while after SIGTERM, as a search that saves its run.
SLOW_TO_END = """
trap 'sleep 1; echo saved >> "$1"; exit 130' TERM
echo started >> "$1"
for try in $(seq 3000); do sleep 0.01; done
"""

in_a_pod = pytest.mark.skipif(
    alone.why_not() is not None, reason=f"no pod can be made: {alone.why_not()}"
)


def end_pod(folder, search, ready, mark):
    """Run the hook of the head's pod while a search runs there; return how both have ended.

    Args:
        folder: Gets the file ``over`` when the hook has ended.
        search: The command of the search.
        ready: The file by which it is known that the search has begun.
        mark: What that file then holds.
    """
    head = rayjob()["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    pod = {
        "search": search, "hook": head["lifecycle"]["preStop"]["exec"]["command"],
        "ready": str(ready), "mark": mark, "over": str(folder / "over"),
        "seconds": SEARCH_SECONDS,
    }  # fmt: skip
    done = subprocess.run(
        [*alone.ALONE, sys.executable, "-c", POD], input=json.dumps(pod),
        capture_output=True, text=True, check=False, timeout=2 * SEARCH_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@in_a_pod
@pytest.mark.parametrize("command", ["run", "resume"])
def test_the_hook_of_a_pod_ends_the_search_and_waits_for_its_end(tmp_path, command):
    script = tmp_path / "fmnist-search"
    script.write_text(SLOW_TO_END)
    # Its command line is that of the search: `fmnist-search run FILE`.
    search = [
        "bash",
        "-c",
        f'exec -a "fmnist-search {command}" bash "$0" "$1"',
        script,
        tmp_path / "log",
    ]
    ended = end_pod(tmp_path, [str(word) for word in search], tmp_path / "log", "started")
    assert ended == {"hook": 0, "ended": True, "search": 130}
    assert (tmp_path / "log").read_text() == "started\nsaved\n"


@in_a_pod
def test_the_hook_of_a_pod_leaves_other_programs_alone(tmp_path):
    script = f"cd {tmp_path}; echo started > log; while [ ! -e over ]; do sleep 0.01; done"
    show = ["bash", "-c", script, "fmnist-search", "show"]
    ended = end_pod(tmp_path, show, tmp_path / "log", "started")
    assert ended == {"hook": 0, "ended": False, "search": 0}


@pytest.mark.long
@in_a_pod
def test_the_search_of_a_pod_that_is_to_go_ends_cleanly(tmp_path, commands):
    run = tmp_path / "wide"
    search = [
        str(commands / "fmnist-search"), "run", "--hypermodel", "stormy:Steady",
        "--data", "problems:blobs", "--trials", "50", "--epochs", "50", "--workers", "1",
        "--retrain-epochs", "none", "--out", str(run), "--or-resume",
    ]  # fmt: skip
    ended = end_pod(tmp_path, search, run / "journal.jsonl", '"epoch"')
    assert ended == {"hook": 0, "ended": True, "search": 130}
    content = parse((run / "journal.jsonl").read_bytes(), run)
    last = content.events[-1]
    assert (last["event"], last["reason"]) == ("search_ended", "interrupted")
    assert not content.damaged_lines
