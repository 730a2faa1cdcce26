"""Where copies of Fashion-MNIST live, and how one is fetched when there is none."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_DIR = Path("/usr/share/datasets/fashion-mnist")
# The address Keras 3.15 itself downloads from (keras.datasets.fashion_mnist).
KERAS_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
APT_TIMEOUT_SECONDS = 300

Verify = Callable[[Path], object]


class FetchError(Exception):
    """One source of the data set could not serve it."""


def keras_cache_dir() -> Path:
    """Folder in which ``keras.datasets.fashion_mnist`` keeps its files."""
    home = os.environ.get("KERAS_HOME") or "~/.keras"
    return Path(home).expanduser() / "datasets" / "fashion-mnist"


def project_cache_dir() -> Path:
    """Folder in which this project keeps what it unpacked from the Debian package."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "fmnist-search" / "fashion-mnist"


def from_keras(names: Sequence[str], *, verify: Verify) -> Path:
    """Download by ``keras.utils.get_file`` into the Keras cache, and return its folder.

    The variable ``FASHION_MNIST_URL`` may name a mirror, with a slash at its end.

    Args:
        names: The files to fetch.
        verify: Called with the folder of fresh files; an exception keeps them out of the cache.

    Raises:
        FetchError: The address did not serve a file.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    url = os.environ.get("FASHION_MNIST_URL") or KERAS_URL
    with _beside(keras_cache_dir()) as fresh:
        for name in names:
            try:
                # Fetched beside the cache: Keras leaves a half-written file in place when killed.
                keras.utils.get_file(name, origin=url + name, cache_dir=fresh, cache_subdir="")
            except Exception as error:  # get_file raises plain Exception for every failure
                raise FetchError(f"{url}{name} did not answer ({error})") from error
        return _take_place(Path(fresh), names, keras_cache_dir(), verify)


def from_debian(names: Sequence[str], *, verify: Verify) -> Path:
    """Fetch Debian's package by ``apt-get``, as root or not, and unpack it into the user's cache.

    Nothing is installed and no list of the system is touched: apt works on lists of its own.
    Returns the folder of that cache.

    Raises:
        FetchError: This is no Debian or Ubuntu, or the package could not be had.
    """
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise FetchError("this is no Debian or Ubuntu, so its package cannot be used")
    with _beside(project_cache_dir()) as fresh:
        work = Path(fresh)
        for folder in ("lists/partial", "archives/partial", "root"):
            (work / folder).mkdir(parents=True)
        own_lists = (
            f"-oDir::State::Lists={work / 'lists'}",
            f"-oDir::Cache={work}",
            # As root, apt would change to a user that may not write into this folder.
            "-oAPT::Sandbox::User=root",
        )
        _run("apt-get", *own_lists, "-q", "update", folder=work)
        _run("apt-get", *own_lists, "-q", "download", DEBIAN_PACKAGE, folder=work)
        archives = [str(path) for path in work.glob("*.deb")]
        _run("dpkg-deb", "--extract", *archives, str(work / "root"), folder=work)
        unpacked = work / "root" / DEBIAN_DIR.relative_to("/")
        return _take_place(unpacked, names, project_cache_dir(), verify)


def _beside(target: Path) -> tempfile.TemporaryDirectory[str]:
    # On the same file system as the target, so that a rename moves a file whole or not at all.
    target.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=".fetch-", dir=target)


def _take_place(fresh: Path, names: Sequence[str], target: Path, verify: Verify) -> Path:
    verify(fresh)
    for name in names:
        os.replace(fresh / name, target / name)
    return target


def _run(*command: str, folder: Path) -> None:
    try:
        subprocess.run(
            command,
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
            timeout=APT_TIMEOUT_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or error.stdout.strip()).splitlines()[-1:]
        raise FetchError(f"`{command[0]}` failed ({' '.join(last)})") from error
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"`{command[0]}` took over {APT_TIMEOUT_SECONDS} s") from error
