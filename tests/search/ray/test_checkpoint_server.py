import pytest

from search.errors import RunFolderError
from search.ray.checkpoint_server import CheckpointAccess, CheckpointServer
from search.storage.folder import RunFolder, previous_state_file


@pytest.fixture
def run(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.run_file.write_text("{}")
    return folder


def test_a_state_takes_the_place_of_the_newest_which_becomes_the_one_before(run):
    server = CheckpointServer(run)
    state = run.state_file(3)
    token = server.open(3, [], b"").token
    server.put(3, token, state.name, b"one")
    server.put(3, token, state.name, b"two")
    assert state.read_bytes() == b"two"
    assert previous_state_file(state).read_bytes() == b"one"
    assert server.open(4, [3], b"").files == {
        previous_state_file(state).name: b"one",
        state.name: b"two",
    }
    assert server.open(4, [4], b"").files == {}
    server.put(3, token, state.name, None)
    assert not state.exists()


def test_reports_of_a_process_whose_trial_another_has_taken_over_are_ignored(run):
    server = CheckpointServer(run)
    cut_off = server.open(3, [], b"").token
    other = server.open(3, [3], b"").token
    server.put(3, other, run.state_file(3).name, b"new")
    server.put(3, cut_off, run.state_file(3).name, b"old")
    server.put(3, cut_off, run.state_file(3).name, None)
    assert run.state_file(3).read_bytes() == b"new"
    # Nor where the other sees the run itself.
    assert server.open(3, [3], b"{}") is None
    server.put(3, other, run.state_file(3).name, None)
    assert run.state_file(3).read_bytes() == b"new"
    # A restarted server knows no tokens.
    CheckpointServer(run).put(3, other, run.state_file(3).name, b"newer")
    assert run.state_file(3).read_bytes() == b"newer"


@pytest.mark.parametrize("name", ["../run.json", "/etc/passwd", "a/b"])
def test_nothing_is_written_beside_the_checkpoints(run, name):
    with pytest.raises(RunFolderError, match="is not a checkpoint"):
        CheckpointServer(run).put(0, "", name, b"x")


def test_a_process_that_sees_the_run_works_in_it(running_ray, run):
    access = CheckpointAccess.of(run, has_other_nodes=True)
    with access.open_for_trial(0, []) as folder:
        assert folder is run
    with CheckpointAccess.of(run, has_other_nodes=False).open_for_trial(0, []) as folder:
        assert folder is run


def test_checkpoints_of_a_process_on_another_node_reach_the_run_folder_and_come_back(
    running_ray, run, tmp_path
):
    server = CheckpointAccess.of(run, has_other_nodes=True).server
    run.state_file(1).write_bytes(b"left off")
    run.best_weights_file(2).write_bytes(b"not its own")
    elsewhere = CheckpointAccess(RunFolder(tmp_path / "a folder that is not there"), server)
    with elsewhere.open_for_trial(1, [1]) as folder:
        assert folder.path != run.path
        assert folder.state_file(1).read_bytes() == b"left off"
        assert not folder.best_weights_file(2).exists()
        folder.best_weights_file(1).write_bytes(b"better")
        folder.checkpoint_changed(folder.best_weights_file(1))
        folder.state_file(1).unlink()
        folder.checkpoint_changed(folder.state_file(1))
        scratch = folder.path
    assert run.best_weights_file(1).read_bytes() == b"better"
    assert not run.state_file(1).exists()
    assert not scratch.exists()


def test_a_run_folder_that_cannot_be_written_is_named_to_the_process_elsewhere(
    running_ray, tmp_path
):
    gone = RunFolder(tmp_path / "gone")
    server = CheckpointAccess.of(gone, has_other_nodes=True).server
    access = CheckpointAccess(RunFolder(tmp_path / "other"), server)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text("another run")
    with (
        access.open_for_trial(0, []) as folder,
        pytest.raises(RunFolderError, match="cannot be written"),
    ):
        folder.best_weights_file(0).write_bytes(b"x")
        folder.checkpoint_changed(folder.best_weights_file(0))
