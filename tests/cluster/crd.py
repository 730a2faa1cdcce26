"""The schema of a custom resource, made as strict as `kubectl apply` is."""

import os
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
# Copies of KubeRay's, from ray-operator/config/crd/bases of its repository.
FOLDER = Path(os.environ.get("KUBERAY_CRDS") or ROOT.parent / "shared" / "kuberay")
FILE = FOLDER / "ray.io_rayjobs.yaml"


def why_not() -> str | None:
    """Return why nothing can be checked against the schema; None where it can."""
    if FILE.is_file():
        return None
    return f"there is no {FILE}: name a folder with KubeRay's CRDs by KUBERAY_CRDS"


def rayjob_schema() -> dict[str, Any]:
    """Return the JSON schema of a RayJob, version v1, in which a key that is unknown is wrong."""
    definition = yaml.load(FILE.read_text(), Loader=yaml.CSafeLoader)
    [schema] = [
        version["schema"]["openAPIV3Schema"]
        for version in definition["spec"]["versions"]
        if version["name"] == "v1"
    ]
    return strict(schema)


def strict(schema: Any) -> Any:
    """Forbid what a structural schema of Kubernetes would drop without a word."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        key: {name: strict(one) for name, one in value.items()}
        if key == "properties"
        else strict(value)
        for key, value in schema.items()
    }
    keeps_others = made.get("x-kubernetes-preserve-unknown-fields", False)
    if "properties" in made and "additionalProperties" not in made and not keeps_others:
        made["additionalProperties"] = False
    if made.get("nullable") and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made
