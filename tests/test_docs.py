"""The pages name what the program has: arguments, methods, tests, messages; and no other."""

import ast
import inspect
import re
from pathlib import Path

import keras_tuner as kt

from results.record.columns import State
from search import RayTuner
from search.tuner.settings import ARGUMENTS_OF_OTHER_TUNERS

PAGE = (Path(__file__).parents[1] / "docs" / "keras-tuner.md").read_text()


def first_column(heading):
    """Return the names in the first column of the table under a heading."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)


def test_the_page_tells_the_state_of_every_argument():
    own = set(inspect.signature(RayTuner).parameters) - {"others"}
    theirs = {
        name
        for one in (kt.RandomSearch, kt.Tuner)
        for name in inspect.signature(one).parameters
        if name not in ("oracle", "kwargs")
    }
    listed = first_column("Arguments")
    assert len(listed) == len(set(listed))
    assert set(listed) == own | theirs
    for name in ARGUMENTS_OF_OTHER_TUNERS:
        assert f"`{name}`" in PAGE


def test_the_page_tells_the_state_of_every_method():
    listed = first_column("Methods")
    assert len(listed) == len(set(listed))
    public = {name for name in dir(kt.Tuner) if not name.startswith("_")}
    assert set(listed) == public | {"oracle", "hypermodel"}


def test_what_keras_tuners_other_tuners_take_is_refused_with_a_hint_or_taken():
    own = set(inspect.signature(RayTuner).parameters) | set(ARGUMENTS_OF_OTHER_TUNERS) | {"kwargs"}
    for tuner in (kt.Hyperband, kt.BayesianOptimization, kt.GridSearch, kt.RandomSearch):
        assert set(inspect.signature(tuner).parameters) <= own


def test_what_is_passed_by_position_stands_where_keras_tuner_has_it():
    order = list(inspect.signature(kt.RandomSearch).parameters)[:-1]
    assert list(inspect.signature(RayTuner).parameters)[: len(order)] == order


def test_each_promise_names_a_test_that_is_there():
    tests = Path(__file__).parent
    page = (tests.parent / "docs" / "reliability.md").read_text()
    named = re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", page)
    assert len(named) > 20
    for module, function in named:
        files = [path.read_text() for path in tests.rglob(module)]
        assert any(f"def {function}" in text for text in files), (module, function)
    # Named alone, a test is of the module named last before it.
    alone = re.findall(r"`(test_[a-z_]+)`", page)
    sources = "".join(path.read_text() for path in tests.rglob("test_*.py"))
    assert [name for name in alone if f"def {name}(" not in sources] == []


# --- The page of failures ------------------------------------------------------------------------


def _texts(node):
    """Return the strings of a module as they are printed, with {} for each value."""
    for each in ast.walk(node):
        if isinstance(each, ast.JoinedStr):
            yield "".join(
                part.value if isinstance(part, ast.Constant) else "{}" for part in each.values
            )
        elif isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def test_each_message_on_the_pages_is_one_of_the_program():
    home = Path(__file__).parents[1]
    pages = [home / "docs" / "failures.md", *sorted((home / "docs" / "cluster").glob("*.md"))]
    page = "\n".join(path.read_text(encoding="utf-8") for path in pages)
    rows = re.findall(r"^\| message .*?(?=\n\n)", page, flags=re.MULTILINE | re.DOTALL)
    cells = [row.split(" | ")[0] for table in rows for row in table.splitlines()[2:]]
    messages = [message for cell in cells for message in re.findall(r"`(.+?)`", cell)]
    assert len(messages) > 15
    sources = [
        path
        for room in ("search", "results", "cluster", "fmnist_model")
        for path in (home / room).rglob("*.py")
    ]
    texts = "\n".join(
        text for path in sources for text in _texts(ast.parse(path.read_text(encoding="utf-8")))
    )
    texts += (home / "cluster" / "setup.sh").read_text(encoding="utf-8")
    assert [message for message in messages if message not in texts] == []


def test_the_page_of_failures_says_what_each_end_of_a_trial_means():
    page = (Path(__file__).parents[1] / "docs" / "failures.md").read_text(encoding="utf-8")
    fine = {State.RUNNING, State.COMPLETED, State.EARLY_STOPPED}
    assert [state for state in set(State) - fine if f"| `{state}" not in page] == []
