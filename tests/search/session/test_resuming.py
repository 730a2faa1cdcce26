"""A search that was cut off at any event continues as if it had not been. No Keras."""

import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_runs import ACCURACY, make_plan
from made_up_searches import CHANGED_SPACE, SPACE, MadeUpSearch, outcome

from results.record.columns import State
from results.record.files import write_json
from results.record.history import History
from results.record.journal import read
from search.algorithms.base import make_searcher
from search.algorithms.tpe import TPESearcher
from search.session.origin import read_previous_run, teach_searcher, trials_outside
from search.session.run_file import describe
from search.storage.folder import RunFolder


def searcher_of(algorithm):
    return make_searcher(make_plan("nowhere", algorithm=algorithm), SPACE)


@pytest.mark.parametrize("algorithm", ["random", "tpe"])
@settings(deadline=None, max_examples=12)
@given(data=st.data())
def test_a_search_cut_off_at_any_event_continues_as_if_it_had_not_been(
    tmp_path_factory, whole_run, algorithm, data
):
    folder, undisturbed = whole_run(algorithm)
    lines = folder.journal_file.read_bytes().splitlines(keepends=True)
    kept = data.draw(st.integers(1, len(lines) - 1))
    torn = data.draw(st.integers(0, len(lines[kept]) - 2))  # all but its last brace, at most
    again = RunFolder.create(tmp_path_factory.mktemp("cut") / "run")
    shutil.copy(folder.run_file, again.run_file)
    again.journal_file.write_bytes(b"".join(lines[:kept]) + lines[kept][:torn])
    previous = read_previous_run(again.path)
    MadeUpSearch(again, searcher_of(algorithm), previous.history, previous=previous).run()
    content = read(again.journal_file)
    assert content.damaged_lines == ((kept + 1,) if torn else ())
    assert outcome(History.replay(ACCURACY, content.events)) == outcome(undisturbed)


@pytest.mark.parametrize("algorithm", ["random", "tpe"])
def test_asha_stops_some_trials_of_the_search_that_is_cut_off(whole_run, algorithm):
    """Else the test above would not see that a resumed search has the same rungs."""
    _, undisturbed = whole_run(algorithm)
    states = [trial.state for trial in undisturbed.trials.values()]
    assert states.count(State.STOPPED) >= 2
    assert State.COMPLETED in states


def test_a_trial_whose_start_was_lost_begins_again_with_the_same_values(whole_run, copy):
    _, undisturbed = whole_run("random")
    lines = copy.journal_file.read_bytes().splitlines(keepends=True)
    line = next(n for n, line in enumerate(lines) if b'"trial_started","trial":2' in line)
    lines[line] = lines[line].replace(b'"units"', b'"UNITS"')
    copy.journal_file.write_bytes(b"".join(lines))
    previous = read_previous_run(copy.path)
    assert previous.notes == (f"journal: skipped damaged line {line + 1}",)
    assert previous.history.next_trial == 2
    searcher = searcher_of("random")
    assert list(teach_searcher(searcher, previous)) == []
    assert searcher.propose(2) == undisturbed.trials[2].values


@pytest.mark.parametrize("algorithm", ["random", "tpe"])
def test_a_search_whose_journal_is_empty_begins_anew(tmp_path, algorithm):
    folder = RunFolder.create(tmp_path / "run")
    write_json(folder.run_file, describe(make_plan(folder.path, algorithm=algorithm), SPACE))
    folder.journal_file.write_bytes(b"")
    searcher = searcher_of(algorithm)
    assert list(teach_searcher(searcher, read_previous_run(folder.path))) == []
    assert searcher.propose(0) == SPACE.defaults()


# --- A changed space ------------------------------------------------------------------------------


def test_a_searcher_of_a_changed_space_learns_the_trials_that_fit_and_names_the_rest(whole_run):
    folder, _ = whole_run("tpe")
    previous = read_previous_run(folder.path)
    searcher = TPESearcher(CHANGED_SPACE, seed=3, objective=ACCURACY)
    notes = list(teach_searcher(searcher, previous))
    trials = previous.history.trials.values()
    completed = [trial for trial in trials if trial.state is State.COMPLETED]
    fitting = [trial for trial in completed if trial.values["units"] <= 32]
    assert 0 < len(fitting) < len(completed), "the changed space must hold some of the trials"
    assert len(notes) == len(trials)
    for trial in fitting:
        assert f"learnt from trial {trial.trial} without activation" in notes
    for trial in completed:
        if trial not in fitting:
            name = f"trial {trial.trial}"
            assert any(note.startswith(f"{name} is left out: units=") for note in notes), name
    values = sorted(trial.value for trial in searcher.study.trials)
    assert values == sorted(trial.best_value for trial in fitting)


def test_a_search_that_continues_names_the_trials_that_its_space_no_longer_holds(whole_run, copy):
    lines = copy.journal_file.read_bytes().splitlines(keepends=True)
    started = [n for n, line in enumerate(lines) if b'"trial_started"' in line]
    copy.journal_file.write_bytes(b"".join(lines[: started[1] + 1]))
    previous = read_previous_run(copy.path)
    assert [trial.trial for trial in previous.history.unfinished()] == [0, 1]
    assert trials_outside(previous, SPACE) == []
    assert trials_outside(previous, CHANGED_SPACE) == [0, 1]
