"""Packs this project, as it is installed here, into a wheel for other machines."""

import base64
import hashlib
import importlib.metadata
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

DISTRIBUTION = "fmnist-search"
INSTALLED = Path(__file__).resolve().parents[1]
# What an installer reads of a wheel; it writes the rest of an installed package's metadata itself.
METADATA = ("METADATA", "WHEEL", "entry_points.txt", "top_level.txt", "licenses/LICENSE")


def wheel_name() -> str:
    """Return the file name of the wheel."""
    return f"{_name_and_version()}-py3-none-any.whl"


def wheel() -> bytes:
    """Return the wheel, in the format of PEP 427; pip installs it as one of ``make dist``.

    Packages are read where Python finds them, so that a wheel and an editable installation give
    the same.
    """
    record = f"{_name_and_version()}.dist-info/RECORD"
    rows, packed = [], io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _files():
            archive.writestr(name, content)
            rows.append(f"{name},sha256={_digest(content)},{len(content)}\n")
        archive.writestr(record, "".join([*rows, f"{record},,\n"]))
    return packed.getvalue()


def _files() -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each file but the last."""
    distribution = importlib.metadata.distribution(DISTRIBUTION)
    for package in (distribution.read_text("top_level.txt") or "").split():
        for path in sorted((INSTALLED / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(INSTALLED).as_posix(), path.read_bytes()
    for name in METADATA:
        text = distribution.read_text(name)
        if text is not None:
            yield f"{_name_and_version()}.dist-info/{name}", text.encode()


def _name_and_version() -> str:
    return f"{DISTRIBUTION.replace('-', '_')}-{importlib.metadata.version(DISTRIBUTION)}"


def _digest(content: bytes) -> str:
    digest = hashlib.sha256(content).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
