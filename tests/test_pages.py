"""The pages of docs/ that a reader goes through, one after the other: each command is run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from in_process import help_of

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(Path(__file__).parent / "results"))
# In the order of reading: each goes on with what the page before it has made.
PAGES = ("first-search", "report", "continue", "reproduce", "your-own")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (\w+\.py)\n")
LONGEST_SECONDS = 1200


def commands_of(page):
    """Return the commands of a page, a list of words each."""
    blocks = BLOCK.findall((DOCS / f"{page}.md").read_text())
    lines = [line for kind, text in blocks if kind == "sh" for line in text.splitlines()]
    return [shlex.split(line) for line in lines if line]


def files_of(page):
    """Return the files that a page shows: name and content."""
    blocks = BLOCK.findall((DOCS / f"{page}.md").read_text())
    named = [(FILE.match(text), text) for kind, text in blocks if kind == "python"]
    return [(name[1], text) for name, text in named if name]


@pytest.fixture(scope="module")
def environment(commands):
    """What a reader's shell has: the environment is active, and there is a browser."""
    from browser import BrowserError, find

    try:
        browser = {"BROWSER_PATH": str(find())}
    except BrowserError:
        browser = {}
    path = os.pathsep.join([str(commands), os.environ["PATH"]])
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "PATH": path, **browser,
    }  # fmt: skip


@pytest.mark.long
def test_every_command_of_the_pages_does_what_it_says(environment, tmp_path):
    for page in PAGES:
        for name, text in files_of(page):
            (tmp_path / name).write_text(text)
        assert commands_of(page), page
        for words in commands_of(page):
            done = subprocess.run(
                words, cwd=tmp_path, env=environment, capture_output=True, text=True,
                check=False, timeout=LONGEST_SECONDS,
            )  # fmt: skip
            assert done.returncode == 0, (page, words, done.stdout[-2000:], done.stderr[-2000:])
    made = {path.name for path in (tmp_path / "runs").iterdir()}
    assert made == {"first", "second", "mine", "tpe-1", "tpe-2", "random-1", "random-2"}
    assert (tmp_path / "runs" / "first" / "report.html").stat().st_size > 1e6
    assert (tmp_path / "runs" / "mine" / "report.html").stat().st_size > 1e6
    assert (tmp_path / "runs" / "first" / "tensorboard").is_dir()
    assert {path.name for path in (tmp_path / "export").iterdir()} >= {
        "hyperparameters.json", "study.db", "model.keras", "MODEL_CARD.md",
    }  # fmt: skip


def test_every_page_is_short_linked_and_links_to_what_is_there():
    """Links between the pages hold, also to a heading; each page is reached from the README."""
    pages = [*DOCS.rglob("*.md"), DOCS.parent / "README.md"]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]*)(?:#[\w-]*)?\)", page.read_text()):
            assert not target or (page.parent / target).exists(), (page.name, target)
    readme = (DOCS.parent / "README.md").read_text()
    for page in DOCS.glob("*.md"):
        assert f"docs/{page.name}" in readme, page.name
    assert "docs/cluster/README.md" in readme
    overview = (DOCS / "cluster" / "README.md").read_text()
    for page in (DOCS / "cluster").glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in overview, page.name
    for page in PAGES:
        assert len((DOCS / f"{page}.md").read_text().splitlines()) <= 80, page


def test_a_link_to_a_heading_finds_it():
    for page in DOCS.rglob("*.md"):
        for target, anchor in re.findall(r"\]\(([^)#:]*)#([\w-]+)\)", page.read_text()):
            text = (page.parent / target).read_text() if target else page.read_text()
            headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
            assert anchor in slugs, (page.name, target, anchor)


def test_each_word_of_the_pages_is_a_known_command():
    """In the short tier, where they are not run: each command and option is one there is."""
    known = {}
    for page in PAGES:
        for program, command, *options in commands_of(page):
            if (program, command) not in known:
                known[program, command] = help_of(program, command)
            for option in options:
                if option.startswith("--"):
                    told = re.search(rf"{option}(?![\w-])", known[program, command])
                    assert told, (page, command, option)


def test_the_site_is_built_and_each_of_its_links_leads_somewhere(tmp_path):
    """MkDocs ends with an error if a link, a heading or a page of the menu is missing."""
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path]
    done = subprocess.run(
        words, cwd=DOCS.parent, capture_output=True, text=True, check=False,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for page in ("index", "api", "contributing", "cluster/slurm"):
        html = (tmp_path / f"{page}.html").read_text(encoding="utf-8")
        assert not re.search(
            r'(?:src|href)="(?:https?:)?//(?!squidfunk)[^"]*\.(?:js|css|woff2?)', html
        )
    assert "search.RayTuner" in (tmp_path / "api.html").read_text(encoding="utf-8")
