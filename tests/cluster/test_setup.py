"""The script that installs the packages on a machine, with stand-ins for Python and make."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "cluster" / "setup.sh"
WHEEL = "./cluster/fmnist_search-1.0-py3-none-any.whl"
# Makes an environment whose Python notes what it is asked for.
PYTHON = """
mkdir -p .venv/bin
printf '#!/bin/sh\\necho "$@" >> %s/calls.txt\\n' "$PWD" > .venv/bin/python
chmod +x .venv/bin/python
"""


class Machine:
    """A machine with a copy of the project."""

    def __init__(self, home, programs):
        self.project = home / "fmnist-search"
        (self.project / "cluster").mkdir(parents=True)
        shutil.copy(SCRIPT, self.project / "cluster")
        self.requirements = self.project / "cluster" / "requirements.txt"
        self.wheel = self.project / WHEEL
        programs.write("make", 'echo "make $@"')
        programs.write("python3", PYTHON)

    def set_up(self):
        """Set the machine up as `ray up` does; return the process and what pip was asked for."""
        calls = self.project / "calls.txt"
        calls.unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", self.project / "cluster" / "setup.sh"],
            cwd="/", capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done, calls.read_text().splitlines() if calls.exists() else []


@pytest.fixture
def machine(user, programs):
    return Machine(user, programs)


@pytest.fixture
def of_init(machine):
    """A machine with a folder of `fmnist-cluster init`."""
    machine.requirements.write_text(f"# a comment\n{WHEEL}\nkeras==3.15.1\n")
    machine.wheel.write_text("a wheel")
    return machine


INSTALLS = [
    "-m pip install --quiet -r cluster/requirements.txt",
    f"-m pip install --quiet --no-deps --force-reinstall {WHEEL}",
]


def test_a_checkout_is_installed_by_make(machine, programs):
    assert machine.set_up()[0].stdout == "make --silent setup GPU=\n"
    programs.write("nvidia-smi", "")
    assert machine.set_up()[0].stdout == f"make --silent setup GPU={programs.folder}/nvidia-smi\n"


def test_a_folder_of_init_is_installed_from_its_list_and_its_wheel(of_init):
    done, calls = of_init.set_up()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert calls == INSTALLS
    assert (of_init.project / ".venv" / ".installed").exists()


def test_a_machine_with_a_gpu_also_gets_cuda(of_init, programs):
    of_init.set_up()
    programs.write("nvidia-smi", "")
    _, calls = of_init.set_up()
    assert calls == [f"{INSTALLS[0]} tensorflow[and-cuda]", INSTALLS[1]]


@pytest.mark.parametrize("changed", [None, "requirements", "wheel"])
def test_it_installs_again_only_what_has_changed(of_init, changed):
    of_init.set_up()
    if changed is not None:
        with getattr(of_init, changed).open("a") as file:
            file.write("pandas\n")
    assert of_init.set_up()[1] == ([] if changed is None else INSTALLS)


def test_an_installation_that_failed_is_tried_again(of_init, programs):
    programs.write("python3", PYTHON.replace("calls.txt", "calls.txt; exit 1"))
    done, _ = of_init.set_up()
    assert done.returncode == 1
    assert not (of_init.project / ".venv" / ".installed").exists()


def test_a_list_without_its_wheel_is_one_line(of_init):
    of_init.wheel.unlink()
    done, calls = of_init.set_up()
    assert (done.returncode, calls) == (2, [])
    assert done.stderr.startswith("error: cluster/requirements.txt names no wheel that is there")
    assert len(done.stderr.splitlines()) == 1
