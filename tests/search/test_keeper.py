import pytest

from search.errors import RunFolderError
from search.ray.keeper import Keeper, Place
from search.storage.folder import RunFolder, before


@pytest.fixture
def run(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.run_file.write_text("{}")
    return folder


def test_a_state_takes_the_place_of_the_newest_which_becomes_the_one_before(run):
    keeper = Keeper(run)
    state = run.state_file(3)
    opening = keeper.open(3, [], b"").token
    keeper.put(3, opening, state.name, b"one")
    keeper.put(3, opening, state.name, b"two")
    assert state.read_bytes() == b"two"
    assert before(state).read_bytes() == b"one"
    assert keeper.open(4, [3], b"").files == {before(state).name: b"one", state.name: b"two"}
    assert keeper.open(4, [4], b"").files == {}
    keeper.put(3, opening, state.name, None)
    assert not state.exists()


def test_nothing_is_taken_of_a_process_whose_trial_another_has_taken_over(run):
    keeper = Keeper(run)
    cut_off = keeper.open(3, [], b"").token
    other = keeper.open(3, [3], b"").token
    keeper.put(3, other, run.state_file(3).name, b"new")
    keeper.put(3, cut_off, run.state_file(3).name, b"old")
    keeper.put(3, cut_off, run.state_file(3).name, None)
    assert run.state_file(3).read_bytes() == b"new"
    # Nor where the other sees the run itself.
    assert keeper.open(3, [3], b"{}") is None
    keeper.put(3, other, run.state_file(3).name, None)
    assert run.state_file(3).read_bytes() == b"new"
    # A keeper that had to begin anew knows of no opening.
    Keeper(run).put(3, other, run.state_file(3).name, b"newer")
    assert run.state_file(3).read_bytes() == b"newer"


@pytest.mark.parametrize("name", ["../run.json", "/etc/passwd", "a/b"])
def test_nothing_is_written_beside_the_checkpoints(run, name):
    with pytest.raises(RunFolderError, match="no name of a checkpoint"):
        Keeper(run).put(0, "", name, b"x")


def test_a_process_that_sees_the_run_works_in_it(running_ray, run):
    place = Place.of(run, has_other_nodes=True)
    with place.opened(0, []) as folder:
        assert folder is run
    with Place.of(run, has_other_nodes=False).opened(0, []) as folder:
        assert folder is run


def test_what_a_process_elsewhere_keeps_comes_home_and_goes_out_again(running_ray, run, tmp_path):
    keeper = Place.of(run, has_other_nodes=True).keeper
    run.state_file(1).write_bytes(b"left off")
    run.best_weights_file(2).write_bytes(b"not its own")
    elsewhere = Place(RunFolder(tmp_path / "a folder that is not there"), keeper)
    with elsewhere.opened(1, [1]) as folder:
        assert folder.path != run.path
        assert folder.state_file(1).read_bytes() == b"left off"
        assert not folder.best_weights_file(2).exists()
        folder.best_weights_file(1).write_bytes(b"better")
        folder.written(folder.best_weights_file(1))
        folder.state_file(1).unlink()
        folder.written(folder.state_file(1))
        scratch = folder.path
    assert run.best_weights_file(1).read_bytes() == b"better"
    assert not run.state_file(1).exists()
    assert not scratch.exists()


def test_a_run_folder_that_cannot_be_written_is_named_to_the_process_elsewhere(
    running_ray, tmp_path
):
    gone = RunFolder(tmp_path / "gone")
    keeper = Place.of(gone, has_other_nodes=True).keeper
    place = Place(RunFolder(tmp_path / "other"), keeper)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text("another run")
    with place.opened(0, []) as folder, pytest.raises(RunFolderError, match="cannot be written"):
        folder.best_weights_file(0).write_bytes(b"x")
        folder.written(folder.best_weights_file(0))
