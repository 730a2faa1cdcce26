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


def wrong(part, schema):
    found = jsonschema.Draft7Validator(schema).iter_errors(part)
    return [f"{error.json_path}: {error.message}" for error in found]


@has_schema
def test_every_manifest_is_one_that_the_schema_takes():
    assert wrong(manifests()["RayJob"], rayjob_schema()) == []
    assert wrong(manifests()["Pod"]["spec"], pod_schema()) == []
    assert wrong(manifests()["PersistentVolumeClaim"]["spec"], claim_schema()) == []


HEAD = "$.spec.rayClusterSpec.headGroupSpec"


@has_schema
@pytest.mark.parametrize(
    ("spoil", "said"),
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
def test_what_is_wrong_is_found(spoil, said):
    spoilt = json.loads(json.dumps(manifests()["RayJob"]))  # in which nothing is shared by an alias
    spoil(spoilt["spec"])
    [found] = wrong(spoilt, rayjob_schema())
    assert found.startswith(said)


def test_a_schema_keeps_open_what_it_says_is_open():
    schema = crd.strict(
        {
            "properties": {
                "open": {"properties": {"a": {}}, "x-kubernetes-preserve-unknown-fields": True},
                "named": {"type": "object", "additionalProperties": {"type": "string"}},
                "none": {"type": "integer", "nullable": True},
            }
        }
    )
    assert wrong({"open": {"b": 1}, "named": {"any": "text"}, "none": None}, schema) == []
    assert wrong({"named": {"any": 1}}, schema) == ["$.named.any: 1 is not of type 'string'"]
    assert len(wrong({"other": 1}, schema)) == 1


def test_every_mount_is_of_a_volume_that_is_there_and_every_pod_of_ray_has_the_runs():
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
        asked = pod["containers"][0]["resources"]["limits"]["memory"]
        store = int(group["rayStartParams"]["object-store-memory"])
        assert store < gibibytes(memory) * 2**30 < gibibytes(asked) * 2**30 / 2


def gibibytes(text):
    assert text.endswith("Gi")
    return int(text.removesuffix("Gi"))


def test_the_head_takes_no_trials_and_a_worker_pod_is_asked_for_when_one_waits():
    cluster = rayjob()["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert [group["minReplicas"] for group in groups()] == [0, 0]


def test_nobody_is_root_or_can_become_it():
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


def test_the_job_is_a_command_of_fmnist_search_that_may_be_begun_again(commands):
    # A shell that stays between would end at SIGTERM, and Ray would kill the search then.
    assert words()[:3] == ["exec", "fmnist-search", "run"]
    told = subprocess.run(
        [commands / "fmnist-search", "run", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for option in (word for word in words() if word.startswith("--")):
        assert re.search(rf"^\s+{option}\b", told, re.MULTILINE), option
    assert "--or-resume" in words()
    assert rayjob()["backoffLimit"] > 0


def test_ray_waits_for_the_search_to_end_before_the_pod_is_taken_away():
    pod = rayjob()["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    [wait] = pod["containers"][0]["env"]
    assert wait["name"] == "RAY_JOB_STOP_WAIT_TIME_S"
    assert int(wait["value"]) < pod["terminationGracePeriodSeconds"]


# Process 1 of the pod: begins the search, runs the hook when it has trained, and tells how both end.
POD = """
import json, pathlib, subprocess, sys
asked = json.load(sys.stdin)
journal = pathlib.Path(asked["journal"])
search = subprocess.Popen(asked["search"], stdout=sys.stderr)
while not (journal.exists() and b'"epoch"' in journal.read_bytes()):
    assert search.poll() is None, search.returncode
hook = subprocess.run(asked["hook"], stdout=sys.stderr, timeout=asked["seconds"])
ended = b'"search_ended"' in journal.read_bytes()
told = {"hook": hook.returncode, "ended": ended, "search": search.wait(asked["seconds"])}
json.dump(told, sys.stdout)
"""


@pytest.mark.skipif(alone.why_not() is not None, reason=f"no pod can be made: {alone.why_not()}")
def test_the_search_of_a_pod_that_is_to_go_ends_cleanly_and_the_hook_waits_for_it(
    tmp_path, commands
):
    run = tmp_path / "wide"
    head = rayjob()["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    search = [
        str(commands / "fmnist-search"), "run", "--hypermodel", "stormy:Steady",
        "--data", "problems:blobs", "--trials", "50", "--epochs", "50", "--workers", "1",
        "--retrain-epochs", "none", "--out", str(run), "--or-resume",
    ]  # fmt: skip
    asked = {
        "search": search,
        "hook": head["lifecycle"]["preStop"]["exec"]["command"],
        "journal": str(run / "journal.jsonl"),
        "seconds": SEARCH_SECONDS,
    }
    done = subprocess.run(
        [*alone.ALONE, sys.executable, "-c", POD], input=json.dumps(asked),
        capture_output=True, text=True, check=False, timeout=2 * SEARCH_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"hook": 0, "ended": True, "search": 130}
    content = parse((run / "journal.jsonl").read_bytes(), run)
    last = content.events[-1]
    assert (last["event"], last["reason"]) == ("search_ended", "interrupted")
    assert not content.damaged_lines
