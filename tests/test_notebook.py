"""The notebook of examples/ runs in a kernel; an interrupted cell ends cleanly and goes on."""

import os
import re
import threading
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOK = Path(__file__).parents[1] / "examples" / "first-search.ipynb"
LONGEST_SECONDS = 600


def text_of(cell):
    """Return what a cell has printed and shown as text."""
    return "".join(
        output.get("text", "") or output.get("data", {}).get("text/plain", "")
        for output in cell.outputs
    )


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """The notebook, with its kernel in an empty folder."""
    # Not the path on which the tests' own small problems lie: a folder `search` is there too.
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    content = nbformat.read(NOTEBOOK, as_version=4)
    return content, NotebookClient(
        content, timeout=LONGEST_SECONDS, resources={"metadata": {"path": str(tmp_path)}}
    )


def search_cell(content):
    [cell] = [cell for cell in content.cells if "tuner.search" in cell.source]
    return cell


@pytest.mark.long
def test_the_notebook_runs_to_its_end(notebook):
    content, client = notebook
    client.execute()
    shown = text_of(search_cell(content))
    assert shown.startswith("starting: ")
    assert re.search(r"trial \d+ completed after 9 epochs", shown)
    assert re.search(r"test accuracy 0\.\d{3}", text_of(content.cells[-1]))
    figures = [
        output
        for cell in content.cells
        for output in cell.get("outputs", [])
        if "application/vnd.plotly.v1+json" in output.get("data", {})
    ]
    assert len(figures) == 2


@pytest.mark.long
def test_an_interrupted_cell_ends_the_search_and_the_next_execution_continues_it(notebook):
    content, client = notebook
    with client.setup_kernel():
        for index, cell in enumerate(content.cells):
            if cell is search_cell(content):
                break
            if cell.cell_type == "code":
                client.execute_cell(cell, index)
        watcher = threading.Thread(target=interrupt_after_a_trial, args=[client, cell])
        watcher.start()
        with pytest.raises(CellExecutionError, match="KeyboardInterrupt"):
            client.execute_cell(cell, index)
        watcher.join()
        first = text_of(cell)
        assert "interrupted" in first
        client.execute_cell(cell, index)
    again = text_of(cell)
    assert "search ended (trials done): 12 trials" in again
    done = re.search(r"trial (\d+) (?:completed|stopped)", first)[1]
    assert not re.search(rf"trial {done} (?:completed|stopped)", again)


def interrupt_after_a_trial(client, cell):
    """Interrupt the kernel once a trial has ended."""
    for _ in range(LONGEST_SECONDS * 10):
        if re.search(r"trial \d+ (?:completed|stopped)", text_of(cell)):
            break
        threading.Event().wait(0.1)
    os.kill(client.km.provisioner.process.pid, 2)
