"""The browser that opens what a run drew: Chromium or Google Chrome, without a screen.

Where none is installed, Debian's Chromium is unpacked into the user's cache with one family of
fonts. That takes the network that a test does not have, hence a step of its own:
`python tests/results/browser.py`.
"""

import shlex
import shutil
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    # The root too: folders of the tests are named as packages.
    sys.path[:0] = map(str, Path(__file__).resolve().parents[1:3])

import debian
from debian import UnpackedError as BrowserError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGES = ("chromium",)
# Unpacked in any case: a page has the same fonts wherever this browser draws it.
FONTS = ("fonts-dejavu-core",)
# Far more than it takes; a browser that cannot start may wait for ever.
START_TIMEOUT_SECONDS = 60
# A browser calls its makers, which no page requested: nobody is behind this proxy.
OFFLINE = "--proxy-server=127.0.0.1:9"
# Playwright and Kaleido give the others by themselves: no screen; root has no sandbox; the shared
# memory of a container is too small.
FLAGS = (OFFLINE, "--headless", "--no-sandbox", "--disable-dev-shm-usage")

PAGE = "<title>fmnist-search</title><p>a page</p>"
# Relative to this file, and so right wherever the folder lies.
FONTS_CONF = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir prefix="relative">usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
  <alias><family>sans-serif</family><prefer><family>DejaVu Sans</family></prefer></alias>
  <alias><family>serif</family><prefer><family>DejaVu Serif</family></prefer></alias>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
"""


def cache_dir() -> Path:
    """Folder in which the unpacked browser is kept."""
    return debian.cache_dir("browser")


def find() -> Path:
    """Return a browser of this machine, else the one unpacked earlier; uses no network.

    Returns:
        A program that takes Chromium's options, for Playwright, Kaleido or a shell.

    Raises:
        BrowserError: There is none, or those that there are do not show a page.
    """
    refused = []
    for program in _installed():
        try:
            return _seen_working(program)
        except BrowserError as error:
            refused.append(str(error))
    try:
        return _seen_working(_checked(cache_dir()))
    except BrowserError as error:
        raise BrowserError("; ".join([*refused, str(error)])) from error


def fetch() -> Path:
    """Return what ``find`` does, after fetching Debian's Chromium where that finds nothing.

    Raises:
        BrowserError: This is no Debian or Ubuntu, or its packages hold no browser that works here.
    """
    try:
        return find()
    except BrowserError:
        _fetch_into(cache_dir())
        return find()


def _installed() -> list[Path]:
    return [Path(program) for name in NAMES if (program := shutil.which(name))]


def _fetch_into(target: Path) -> None:
    if not debian.can_fetch():
        raise BrowserError(
            "Chromium is missing, and this is no Debian or Ubuntu whose packages could be fetched:"
            " install it, or Google Chrome"
        )
    try:
        with debian.unpacked(PACKAGES, beside=target, anyway=FONTS) as fresh:
            _write_launcher(fresh)
            _checked(fresh)
            debian.take_place(fresh, target, check=_checked)
    except BrowserError as error:
        raise BrowserError(f"{error}: install Chromium or Google Chrome") from error


def _write_launcher(folder: Path) -> None:
    # The package's own launcher names the folders of an installed browser.
    libraries = [path.relative_to(folder) for path in debian.library_folders(folder)]
    library_path = ":".join(f'"$here"/{shlex.quote(str(path))}' for path in libraries)
    (folder / "fonts.conf").write_text(FONTS_CONF)
    launcher = folder / "browser"
    launcher.write_text(
        "#!/bin/sh\n"
        'here=$(dirname "$(readlink -f "$0")")\n'
        f"export LD_LIBRARY_PATH={library_path}\n"
        'export FONTCONFIG_FILE="$here"/fonts.conf\n'
        'exec "$here"/usr/lib/chromium/chromium "$@"\n'
    )
    launcher.chmod(0o755)


def _checked(folder: Path) -> Path:
    launcher = folder / "browser"
    if not launcher.exists():
        raise BrowserError(
            f"Chromium is neither on the PATH nor in {folder}: install it, or run"
            " `python tests/results/browser.py`, which fetches it for the tests alone"
        )
    program = folder / "usr/lib/chromium/chromium"
    debian.check_libraries(program, debian.library_folders(folder))
    return launcher


def _seen_working(program: Path) -> Path:
    # What `--version` does not show: Ubuntu's runs nowhere but under snapd, and opens no file of
    # a temporary folder.
    # Its last process may write to the folder while that is removed.
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as folder:
        page = Path(folder) / "page.html"
        page.write_text(PAGE)
        shown = debian.run(
            str(program), *FLAGS, f"--user-data-dir={folder}/profile", "--dump-dom", page.as_uri(),
            folder=Path(folder),
            # It would leave folders of its own in the user's home.
            variables=dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), folder),
            timeout_seconds=START_TIMEOUT_SECONDS,
        )  # fmt: skip
    if "<p>a page</p>" not in shown:
        raise BrowserError(f"{program} shows no page from a file: {shown.strip()[:200]!r}")
    return program


if __name__ == "__main__":
    try:
        print(f"browser: {fetch()}")
    except BrowserError as error:
        sys.exit(f"error: {error}")
