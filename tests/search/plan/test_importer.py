import importlib
import sys
from pathlib import Path

import search
from search.plan import importer
from search.plan.importer import source_paths

ROOT = Path(search.__file__).resolve().parents[1]
OWN = [str(ROOT / name) for name in ("search", "results", "fmnist_model")]


def test_what_other_machines_need_is_ours_and_the_users(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_models.py").write_text("")
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    # A folder of files beside the module of that name: Python imports the module.
    (tmp_path / "my_data").mkdir()
    (tmp_path / "my_data.py").write_text("")
    importlib.invalidate_caches()
    found = source_paths("my_models:build", "my_package.inner:load", "my_data:load")
    assert found == [
        *OWN, str(tmp_path / "my_data.py"), str(tmp_path / "my_models.py"), str(package),
    ]  # fmt: skip


def test_what_is_installed_or_not_there_stays():
    named = (
        "keras_tuner.applications:HyperResNet",
        "json:loads",
        "nowhere_at_all:build",
        "__main__",
        None,
    )
    assert source_paths(*named, "fmnist_model.mlp:Wide") == OWN


def test_what_ray_has_brought_to_a_node_comes_before_the_current_folder(tmp_path, monkeypatch):
    brought = str(tmp_path / "runtime_resources" / "py_modules_files" / "pkg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [brought, "/usr/lib/python"])
    importer.add_current_folder_to_path()
    assert sys.path == [brought, str(tmp_path), "/usr/lib/python"]
    monkeypatch.setattr(sys, "path", ["/usr/lib/python"])
    importer.add_current_folder_to_path()
    assert sys.path == [str(tmp_path), "/usr/lib/python"]
