"""The command lines of fmnist-cluster, run in this process on stand-ins for what they reach."""

import json

import pytest
from job_server import Job

from cluster.nodes import Node

NODES = [Node("10.0.0.1", 8.0, 0.0, 15.5), Node("10.0.0.2", 4.5, 2.0, 31.25)]
FILE = "provider: {type: local, head_ip: 10.0.0.1, worker_ips: [10.0.0.2]}\nauth: {ssh_user: me}\n"
# On the machines of the file: what `up`, `down`, `fetch` and `nodes` run there.
SSH = f"""
case "$*" in
    *"nodes --json"*) cat <<'END'
welcome
{json.dumps([vars(node) for node in NODES], indent=2)}
END
    ;;
    *"tell checked"*) echo fmnist-cluster: checked ;;
    *"ls -t"*) echo /home/me/fmnist-search/runs/wide/journal.jsonl ;;
esac
"""
TABLE = """\
node      CPUs  GPUs  memory GiB
10.0.0.1  8     0     15.5
10.0.0.2  4.5   2     31.2
"""


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Look again at once."""
    monkeypatch.setattr("cluster.jobs.client.POLL_SECONDS", 0.0)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The folder in which the user types."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def lines_without_spaces_at_the_end(text):
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


# --- Machines of the user's own -----------------------------------------------------------------


@pytest.fixture
def machines(project, console_commands):
    """Two machines of a cluster file, reached by a stand-in for ssh."""
    (project / "cluster").mkdir()
    (project / "cluster" / "onprem.yaml").write_text(FILE)
    console_commands.write("ssh", SSH)
    console_commands.write("rsync", 'for target; do :; done; echo x > "$target/journal.jsonl"')
    console_commands.write("ray", f'echo "$@" >> {project}/ray.txt; echo "-- [1/7] Beginning"')
    return console_commands


def test_the_nodes_of_a_cluster_file_are_a_table(machines, fmnist_cluster):
    answer = fmnist_cluster("nodes", "cluster/onprem.yaml")
    assert answer.status == 0, answer.errors
    assert lines_without_spaces_at_the_end(answer.output) == TABLE


def test_the_nodes_of_a_cluster_file_are_json_if_asked_for(machines, fmnist_cluster):
    answer = fmnist_cluster("nodes", "cluster/onprem.yaml", "--json")
    assert [Node(**row) for row in json.loads(answer.output)] == NODES


def test_no_cluster_at_an_address_is_one_line(user, fmnist_cluster):
    answer = fmnist_cluster("nodes", "--address", "127.0.0.1:9")
    assert (answer.status, answer.output) == (2, "")
    [line] = answer.errors.splitlines()
    assert line.startswith("error: --address '127.0.0.1:9': no Ray cluster answers ([Errno 111]")


def test_up_says_each_step_and_lists_the_nodes(machines, project, fmnist_cluster):
    answer = fmnist_cluster("up")
    assert answer.status == 0, answer.errors
    assert lines_without_spaces_at_the_end(answer.output) == (
        "checking 2 machines\n"
        "made the token ~/.ray/auth_token; everyone who has it may use the cluster\n"
        "[1/7] Beginning\n"
        f"2 of 2 nodes have joined\n{TABLE}"
    )
    file = project / "cluster" / "onprem.yaml"
    assert (project / "ray.txt").read_text() == f"up --yes --no-config-cache {file}\n"


def test_up_waits_as_long_as_it_is_told(machines, fmnist_cluster, monkeypatch):
    monkeypatch.setattr("cluster.nodes.POLL_SECONDS", 0.0)
    machines.write("ssh", 'case "$*" in *"tell checked"*) echo fmnist-cluster: checked ;; esac')
    answer = fmnist_cluster("up", "--wait", "0")
    assert answer.status == 2
    assert [line[:39] for line in answer.errors.splitlines()] == [
        "error: 10.0.0.1: has not joined in 0 s.",
        "error: 10.0.0.2: has not joined in 0 s.",
    ]


def test_down_names_each_machine_on_which_ray_is_stopped(machines, fmnist_cluster):
    answer = fmnist_cluster("down")
    assert answer.status == 0, answer.errors
    assert answer.output.splitlines() == [
        "[1/7] Beginning",
        "10.0.0.1: Ray is stopped",
        "10.0.0.2: Ray is stopped",
    ]


@pytest.mark.parametrize(
    ("options", "copy"),
    [
        ((), "runs/wide"),
        (("--run", "small"), "runs/small"),
        (("--into", "elsewhere"), "elsewhere/wide"),
    ],
    ids=["newest", "named", "elsewhere"],
)
def test_fetch_copies_a_run_and_says_where_it_is(machines, project, fmnist_cluster, options, copy):
    machines.write(
        "rsync", 'for target; do :; done; mkdir "$target"; echo > "$target/journal.jsonl"'
    )
    answer = fmnist_cluster("fetch", *options)
    assert (answer.status, answer.output) == (0, f"fetched: {copy}\n"), answer.errors
    assert (project / copy / "journal.jsonl").exists()


# --- Jobs ---------------------------------------------------------------------------------------


@pytest.fixture
def submit(fmnist_cluster, job_server, project):
    """Submit a command as the job ``wide``."""
    return lambda *words: fmnist_cluster("submit", "--address", job_server.url, *words)


def test_submit_says_the_job_and_how_to_follow_and_stop_it_then_follows_it(submit, job_server):
    job_server.next_output = ("trial 0\n", "search ended\n")
    answer = submit("--name", "wide", "--", "run", "--trials", "5")
    assert answer.status == 0, answer.errors
    assert answer.output == (
        "job: wide\n"
        f"to follow it: fmnist-cluster follow --address {job_server.url} wide\n"
        f"to stop it: fmnist-cluster stop --address {job_server.url} wide\n"
        "trial 0\n"
        "search ended\n"
    )
    assert job_server.job("wide").entrypoint.endswith("exec fmnist-search run --trials 5")


def test_submit_without_waiting_leaves_the_job_running(submit, job_server):
    job_server.next_output = ("trial 0\n",)
    answer = submit("--no-wait", "--name", "wide", "--", "run")
    assert answer.status == 0, answer.errors
    assert "trial 0" not in answer.output
    assert job_server.job("wide").status == "RUNNING"


def test_the_options_of_a_command_are_its_own_even_without_dashes(submit, job_server):
    submit("--name", "wide", "run", "--space", "a b", "--no-wait")
    assert job_server.job("wide").entrypoint.endswith("fmnist-search run --space 'a b' --no-wait")


def test_submit_sends_the_folder_in_which_it_is_typed(submit, job_server, project):
    (project / "own.py").write_text("class Own: pass\n")
    submit("--", "run")
    assert job_server.sent_files() == {"own.py"}


def test_submit_checks_before_it_asks_any_server(fmnist_cluster, project):
    answer = fmnist_cluster("submit", "--address", "127.0.0.1:9", "--name", "a/b", "--")
    assert (answer.status, answer.output) == (2, "")
    assert [line.partition(":")[2][:15] for line in answer.errors.splitlines()] == [
        " no command: ex", " --name 'a/b': "
    ]  # fmt: skip


def test_the_status_of_a_job_is_that_of_the_command_that_follows_it(
    submit, fmnist_cluster, job_server
):
    job_server.next_output, job_server.next_ending = ("error: no space\n",), ("FAILED", 2)
    submitted = submit("--name", "wrong", "--", "run")
    followed = fmnist_cluster("follow", "--address", job_server.url, "wrong")
    assert (submitted.status, followed.status) == (2, 2)
    assert followed.output == "error: no space\n"
    assert submitted.output.endswith(followed.output)


def test_stop_says_what_the_job_prints_until_its_end(fmnist_cluster, job_server):
    job_server.jobs.append(Job("wide", ending=("STOPPED", None)))
    answer = fmnist_cluster("stop", "--address", job_server.url, "wide")
    assert answer.status == 0, answer.errors
    assert answer.output == "stopping job wide; its run is kept\n\n"
    assert job_server.job("wide").status == "STOPPED"


def test_ctrl_c_while_it_follows_leaves_the_job_and_says_how_to_come_back(
    fmnist_cluster, job_server, monkeypatch
):
    def interrupt(seconds):  # while it waits to look again
        raise KeyboardInterrupt

    job_server.jobs.append(Job("wide", output=("trial 0\n", "trial 1\n")))
    monkeypatch.setattr("cluster.jobs.client.time.sleep", interrupt)
    answer = fmnist_cluster("follow", "--address", job_server.url, "wide")
    assert answer.status == 130
    assert answer.output == (
        "trial 0\n"
        "\njob wide keeps running\n"
        f"to follow it: fmnist-cluster follow --address {job_server.url} wide\n"
        f"to stop it: fmnist-cluster stop --address {job_server.url} wide\n"
    )
    assert job_server.job("wide").status == "RUNNING"


def test_a_lost_connection_leaves_the_job_and_says_how_to_come_back(fmnist_cluster, job_server):
    job_server.jobs.append(Job("wide", output=("trial 0\n", "trial 1\n")))
    job_server.is_lost_once_followed = True
    answer = fmnist_cluster("follow", "--address", job_server.url, "wide")
    assert answer.status == 255
    assert answer.output == "trial 0\n"
    assert answer.errors == (
        f"error: --address {job_server.url}: the job server no longer answers.\n"
        "job wide keeps running\n"
        f"to follow it: fmnist-cluster follow --address {job_server.url} wide\n"
        f"to stop it: fmnist-cluster stop --address {job_server.url} wide\n"
    )


def test_jobs_are_a_table_of_their_ids_states_times_and_commands(fmnist_cluster, job_server):
    job_server.jobs += [
        Job("first", status="FAILED", exit_code=2, metadata={"fmnist-search": "run --space 'a b'"}),
        Job("second", entrypoint="python script.py", start_time=86_400_000),
    ]
    answer = fmnist_cluster("jobs", "--address", job_server.url)
    heading, *rows = [line.split(maxsplit=4) for line in answer.output.splitlines()]
    assert heading == ["job", "status", "since", "command"]
    assert [(row[0], row[1], row[4].rstrip()) for row in rows] == [
        ("first", "FAILED", "run --space 'a b'"),
        ("second", "RUNNING", "python script.py"),
    ]


def test_jobs_are_json_if_asked_for(fmnist_cluster, job_server):
    job_server.jobs.append(Job("wide", status="STOPPED", entrypoint="true"))
    [job] = json.loads(fmnist_cluster("jobs", "--address", job_server.url, "--json").output)
    assert {name: job[name] for name in ("id", "status", "command", "exit_status", "reason")} == {
        "id": "wide", "status": "STOPPED", "command": "true", "exit_status": 130, "reason": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--address", "http://127.0.0.1:9"), "127.0.0.1:9: no job server answers ([Errno 111]"),
        (("--address", "ray://127.0.0.1:9"), "ray://127.0.0.1:9: expected the URL of a job server"),
        ((), "cluster/onprem.yaml does not exist: expected a cluster file"),
        (("--cluster-file", "mine.yaml"), "'mine.yaml' cannot be read"),
        (("--cluster-file", "a.yaml", "--address", "b:1"), "expected only one of them"),
    ],
)
def test_no_way_in_to_a_cluster_is_one_line(fmnist_cluster, project, words, message):
    answer = fmnist_cluster("jobs", *words)
    assert (answer.status, answer.output) == (2, "")
    [line] = answer.errors.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_debug_shows_where_an_error_comes_from_unless_it_is_the_searchs(fmnist_cluster, project):
    nowhere = ("submit", "--address", "http://127.0.0.1:9")
    assert len(fmnist_cluster(*nowhere, "--", "run", "--debug").errors.splitlines()) == 1
    assert fmnist_cluster(*nowhere, "--debug", "--", "run").errors.startswith("Traceback")
