"""What the tests of the data share: a machine without a copy, and an address to download from."""

import http.server
import shutil
import threading
from contextlib import contextmanager
from functools import partial

import pytest

from fmnist_model import fetch


@contextmanager
def serving(folder):
    """Serve a folder on loopback; yield its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def serve(monkeypatch):
    """Serve a folder as the address of the download."""

    @contextmanager
    def serve(folder):
        with serving(folder) as address:
            monkeypatch.setenv("FASHION_MNIST_URL", address)
            yield
        # The discard port: connections are refused.
        monkeypatch.setenv("FASHION_MNIST_URL", "http://127.0.0.1:9/")

    return serve


@pytest.fixture
def bare_home(monkeypatch, tmp_path):
    """A machine without any copy of the data set, without a network and without apt-get."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)
    monkeypatch.setenv("FASHION_MNIST_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("KERAS_HOME", str(home / "keras"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(fetch, "DEBIAN_DIR", home / "no-such-package")
    return home


@pytest.fixture
def with_dpkg(monkeypatch, bare_home):
    """The same machine with a real dpkg-deb, and a stand-in for apt-get that a test writes."""
    dpkg = shutil.which("dpkg-deb", path="/usr/bin:/bin:/usr/local/bin")
    if dpkg is None:
        pytest.skip("dpkg-deb is not on this machine: the Debian package cannot be unpacked")
    tools = bare_home / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin:/usr/local/bin")

    def write(script):
        apt = tools / "apt-get"
        apt.write_text(f"#!/bin/sh\n{script}\n")
        apt.chmod(0o755)

    return write
