"""What SECURITY.md says of the advisories holds for the installed versions."""

import re
import zipfile
from importlib.metadata import version
from pathlib import Path

import keras
import pytest
from keras.src.saving.saving_lib import DiskIOStore
from packaging.version import Version

PAGE = (Path(__file__).parents[1] / "SECURITY.md").read_text(encoding="utf-8")


def test_the_page_names_the_installed_versions():
    ray, tensorflow_keras = re.search(r"pins Ray ([\d.]+) and Keras ([\d.]+)\.\n", PAGE).groups()
    assert version("ray").startswith(f"{ray}.")
    assert version("keras") == tensorflow_keras


def test_the_installed_versions_are_not_older_than_the_fixes():
    assert Version(version("ray")) >= Version("2.54")  # CVE-2025-62593, CVE-2026-27482
    assert Version(version("keras")) >= Version("3.15")  # CVE-2026-1669, -1462, -12479


def test_a_layer_name_cannot_leave_the_folder_of_a_model(tmp_path):
    """CVE-2026-12479."""
    with pytest.raises(ValueError, match="escapes the asset directory"):
        DiskIOStore(str(tmp_path / "model"), mode="w").make("../evil")
    layer = keras.layers.StringLookup(vocabulary=["a", "b"], name="lookup")
    keras.Sequential([keras.Input((1,), dtype="string"), layer]).save(tmp_path / "good.keras")
    with (
        zipfile.ZipFile(tmp_path / "good.keras") as good,
        zipfile.ZipFile(tmp_path / "bad.keras", "w") as bad,
    ):
        for name in good.namelist():
            bad.writestr(name, good.read(name).replace(b'"lookup"', b'"../../../evil"'))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((ValueError, TypeError)):
        keras.models.load_model(tmp_path / "bad.keras")
    assert sorted(tmp_path.rglob("*")) == before
