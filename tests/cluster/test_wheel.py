"""The wheel that is packed from what is installed."""

import base64
import csv
import hashlib
import io
import zipfile

from cluster.wheel import wheel


def test_its_record_lists_every_file_with_its_checksum():
    archive = zipfile.ZipFile(io.BytesIO(wheel()))
    *files, record = archive.namelist()
    rows = list(csv.reader(io.StringIO(archive.read(record).decode())))
    assert [name for name, _, _ in rows] == [*files, record]
    for name, digest, size in rows[:-1]:
        content = archive.read(name)
        expected = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        assert (digest, int(size)) == (f"sha256={expected}", len(content)), name


def test_it_has_the_files_for_clusters_and_nothing_that_python_compiled():
    names = zipfile.ZipFile(io.BytesIO(wheel())).namelist()
    assert {"cluster/onprem.yaml", "cluster/setup.sh", "search/__init__.py"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]
