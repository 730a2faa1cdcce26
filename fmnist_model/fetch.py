"""The folders of Fashion-MNIST on a machine, and its download from Keras or Debian."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_DIR = Path("/usr/share/datasets/fashion-mnist")
# The address from which Keras 3.15 downloads (keras.datasets.fashion_mnist).
KERAS_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
APT_TIMEOUT_SECONDS = 300

Verify = Callable[[Path], object]


class FetchError(Exception):
    """A source of the data set did not serve it."""


def keras_cache_dir() -> Path:
    """Return the folder in which ``keras.datasets.fashion_mnist`` keeps its files."""
    return _cache("KERAS_HOME", ".keras") / "datasets" / "fashion-mnist"


def project_cache_dir() -> Path:
    """Return the folder in which this project keeps the files of Debian's package."""
    return _cache("XDG_CACHE_HOME", ".cache") / "fmnist-search" / "fashion-mnist"


def homeless_cache_dir() -> Path:
    """Return the folder in which an account without a home keeps the files."""
    return Path(tempfile.gettempdir()) / ".keras" / "datasets" / "fashion-mnist"


def _cache(variable: str, name: str) -> Path:
    """Return a folder for caches: the one that a variable names, else one of the home.

    Without a home that can be used, it is in the folder for temporary files, as in Keras.
    """
    named = os.environ.get(variable)
    if named:
        return Path(named).expanduser()
    home = Path(os.path.expanduser("~"))
    is_usable = home.is_absolute() and (os.access(home, os.W_OK) or (home / name).is_dir())
    return (home if is_usable else Path(tempfile.gettempdir())) / name


def from_keras(names: Sequence[str], *, verify: Verify) -> Path:
    """Download with ``keras.utils.get_file`` into the Keras cache; return its folder.

    The variable ``FASHION_MNIST_URL`` may name a mirror; the URL ends with a slash.

    Args:
        names: The files to fetch.
        verify: Called with the folder of the new files; if it raises, they stay out of the cache.

    Raises:
        FetchError: The address did not serve a file.
    """
    with _silenced_stderr():  # TensorFlow 2.21 writes about GPUs at any log level
        import keras

    url = os.environ.get("FASHION_MNIST_URL") or KERAS_URL
    with _temporary_folder(keras_cache_dir()) as fresh:
        for name in names:
            try:
                # Not directly into the cache: if killed, Keras would leave half a file there.
                keras.utils.get_file(name, origin=url + name, cache_dir=fresh, cache_subdir="")
            except Exception as error:  # get_file raises plain Exception for every failure
                raise FetchError(f"{url}{name} did not answer ({error})") from error
        return _move(Path(fresh), names, keras_cache_dir(), verify)


def from_debian(names: Sequence[str], *, verify: Verify) -> Path:
    """Unpack Debian's package into this project's cache; return its folder.

    It needs no root, installs nothing and leaves the system's package lists alone: ``apt-get``
    gets its own. The arguments are those of ``from_keras``.

    Raises:
        FetchError: This is not Debian or Ubuntu, or the package could not be downloaded.
    """
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise FetchError("this is not Debian or Ubuntu, so Debian's package cannot be used")
    with _temporary_folder(project_cache_dir()) as fresh:
        work = Path(fresh)
        for folder in ("lists/partial", "archives/partial", "root"):
            (work / folder).mkdir(parents=True)
        own_lists = (
            f"-oDir::State::Lists={work / 'lists'}",
            f"-oDir::Cache={work}",
            # As root, apt would switch to a user that may not write into this folder.
            "-oAPT::Sandbox::User=root",
        )
        _run("apt-get", *own_lists, "-q", "update", folder=work)
        _run("apt-get", *own_lists, "-q", "download", DEBIAN_PACKAGE, folder=work)
        archives = [str(path) for path in work.glob("*.deb")]
        _run("dpkg-deb", "--extract", *archives, str(work / "root"), folder=work)
        unpacked = work / "root" / DEBIAN_DIR.relative_to("/")
        return _move(unpacked, names, project_cache_dir(), verify)


@contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Discard what native code writes to the error stream; errors are still raised."""
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)


def _temporary_folder(target: Path) -> tempfile.TemporaryDirectory[str]:
    # On the file system of the target, so that renaming moves each file whole or not at all.
    target.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=".fetch-", dir=target)


def _move(fresh: Path, names: Sequence[str], target: Path, verify: Verify) -> Path:
    """Move files from ``fresh`` to ``target`` if ``verify`` accepts them; return ``target``."""
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
            errors="replace",
            timeout=APT_TIMEOUT_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        last_line = (error.stderr.strip() or error.stdout.strip()).splitlines()[-1:]
        raise FetchError(f"`{command[0]}` failed ({' '.join(last_line)})") from error
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"`{command[0]}` took over {APT_TIMEOUT_SECONDS} s") from error
