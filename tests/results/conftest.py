"""What the tests of results share: one browser, pages opened in it, commands run in this process."""

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

# For the modules beside this file, whose tests are not a package.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A running browser, one for all tests of a module; tests that need it are skipped without.

    Not for the session: while it runs, no other test of the process could run asyncio.
    """
    from browser import BrowserError, find
    from page import started

    try:
        program = find()
    except BrowserError as error:
        pytest.skip(f"no browser: {error}")
    with started(program, tmp_path_factory.mktemp("home")) as browser:
        yield browser


@pytest.fixture
def show(chromium):
    """Open a page: ``show(path, device=PHONE, color_scheme="dark")`` returns a ``ShownPage``."""
    from page import shown

    with ExitStack() as pages:
        yield lambda path, **options: pages.enter_context(shown(chromium, path, **options))


@pytest.fixture
def results(monkeypatch, capsys):
    """Run a command in this process: its status, what it printed, its lines of errors."""
    from results import cli

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fmnist-results", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, errors = capsys.readouterr()
        return ended.value.code, out, errors.splitlines()

    return run


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """A run after which nothing was confirmed or audited; not to be written to."""
    import made_up

    return made_up.made_up_run(tmp_path_factory.mktemp("runs") / "plain", trials=20)
