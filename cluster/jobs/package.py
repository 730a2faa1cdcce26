"""What a job takes along: the current folder, as Ray packs it."""

from collections import Counter
from pathlib import Path

from cluster.errors import ClusterError

MIB = 1024**2
# What a job server takes at most: DASHBOARD_CLIENT_MAX_SIZE in ray/_private/ray_constants.py, 2.60.
MAX_BYTES = 100 * MIB
NAMED = 3
# What no job needs, besides what .gitignore and .rayignore name; a slash in front: in the folder
# itself alone. `.env`: where many keep passwords.
EXCLUDES = (
    ".git", ".venv", "venv", ".env", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache",
    ".hypothesis", ".ipynb_checkpoints", "*.egg-info", "node_modules", "/runs", "/build", "/dist",
)  # fmt: skip


def check_size(folder: Path) -> None:
    """Check that a folder is small enough to be sent with a job.

    Raises:
        ClusterError: It is not; names what is largest in it.
    """
    sizes = _sizes(folder)
    if sizes.total() > MAX_BYTES:
        raise ClusterError(_too_large(folder, sizes))


def too_large(folder: Path) -> ClusterError:
    """Return the error for a folder that a job server found too large."""
    return ClusterError(_too_large(folder, _sizes(folder)))


def _too_large(folder: Path, sizes: Counter[str]) -> str:
    largest = ", ".join(f"{name} {_mib(size)}" for name, size in sizes.most_common(NAMED))
    return (
        f"{folder}: {_mib(sizes.total())} would be sent, and Ray takes {_mib(MAX_BYTES)} with all "
        f"names; the largest: {largest}. Name what the search does not need in "
        f"{folder / '.rayignore'} (a line each, as in .gitignore), or submit from another folder."
    )


def _sizes(folder: Path) -> Counter[str]:
    """Return the bytes of each file and folder in a folder that would be sent."""
    # The walk by which Ray 2.60 packs, so that what is counted is what is sent.
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    sizes: Counter[str] = Counter()

    def count(path: Path) -> None:
        if path.is_file():
            sizes[path.relative_to(folder).parts[0]] += path.stat().st_size

    excludes = [_get_excludes(folder, list(EXCLUDES))]
    _dir_travel(folder, excludes, count, include_gitignore=True)
    return sizes


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.0f} MiB"
