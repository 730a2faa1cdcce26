"""``fmnist-cluster``: a Ray cluster for searches."""

import datetime
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.table import Table

from cluster.errors import ClusterError
from cluster.jobs.client import ConnectionLostError, Job, JobClient, job_client
from cluster.jobs.package import check_submission
from cluster.nodes import Node, live_nodes
from cluster.onprem.config import read_cluster_file
from cluster.onprem.fetch import fetch, newest_run
from cluster.onprem.hosts import Ssh
from cluster.onprem.launch import JOIN_SECONDS, down, nodes_of, up
from cluster.project import FOLDER, REQUIREMENTS, Written, write_project
from results.record import console
from results.record.console import INTERRUPTED_STATUS
from results.record.screen import make_console

# ssh also exits with this status when it loses its connection.
LOST_STATUS = 255

app = console.make_app(
    "Start and stop a Ray cluster for searches, submit searches to it, and copy runs home."
)


@console.command(app, "init")
def init_command(
    project: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder of your project. Default: this one.")
    ] = Path(),
) -> None:
    """Write the files for clusters into cluster/ of a project; keep those that are there."""
    _print_written(write_project(project))


@console.command(app, "nodes")
def nodes_command(
    file: Annotated[
        Path | None, typer.Argument(help="Cluster file whose head to ask. Default: ask --address.")
    ] = None,
    address: Annotated[
        str, typer.Option(help="HOST:PORT of the head, or auto for the Ray on this machine.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the live nodes of a running Ray cluster with their CPUs, GPUs and memory."""
    nodes = nodes_of(Ssh(read_cluster_file(file))) if file else live_nodes(address)
    if as_json:
        _print_json(nodes)
    else:
        _print_nodes(nodes)


File = Annotated[Path, typer.Argument(help="Cluster file, such as cluster/onprem.yaml.")]


@console.command(app, "up")
def up_command(
    file: File = Path("cluster/onprem.yaml"),
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for the machines after the head is up.")
    ] = JOIN_SECONDS,
) -> None:
    """Check the machines of a cluster file, start Ray on all, and wait until they have joined."""
    _print_nodes(up(Ssh(read_cluster_file(file)), make_console().print, join_seconds=wait))


@console.command(app, "down")
def down_command(file: File = Path("cluster/onprem.yaml")) -> None:
    """Stop Ray on all machines of a cluster file."""
    down(Ssh(read_cluster_file(file)), make_console().print)


@console.command(app, "fetch")
def fetch_command(
    file: File = Path("cluster/onprem.yaml"),
    run: Annotated[
        str | None, typer.Option(help="Name or path of a run on the head. Default: the newest.")
    ] = None,
    into: Annotated[Path, typer.Option(help="Folder to copy the run into.")] = Path("runs"),
) -> None:
    """Copy a run from the head of a cluster file to this machine."""
    ssh = Ssh(read_cluster_file(file))
    make_console().print(f"fetched: {fetch(ssh, run or newest_run(ssh), into)}")


Address = Annotated[
    str | None,
    typer.Option(
        help="URL of the job server, such as http://127.0.0.1:8265. "
        "Default: the one on the cluster file's head."
    ),
]
ClusterFileOption = Annotated[
    Path | None,
    typer.Option(
        "--cluster-file",
        help="Cluster file whose head to reach by ssh. Default: cluster/onprem.yaml.",
    ),
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="Id of the job, as `jobs` lists it.")]


# Everything from the first word on goes to fmnist-search, even without `--`.
@console.command(app, "submit", context_settings={"allow_interspersed_args": False})
def submit_command(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="A command of fmnist-search, after --."),
    ] = None,
    address: Address = None,
    cluster_file: ClusterFileOption = None,
    name: Annotated[
        str | None, typer.Option(help="Id of the job. Default: made from command and time.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow the job until it ends.")
    ] = True,
) -> None:
    """Run a command of fmnist-search on a cluster, as a job that outlives the connection."""
    folder = Path.cwd()
    check_submission(arguments or (), name, folder)
    with job_client(address, cluster_file) as client:
        job_id = client.submit(arguments or (), name, folder)
        print(f"job: {job_id}\n{_next_commands(client, job_id)}", flush=True)
        if wait:
            raise typer.Exit(_follow(client, job_id))


@console.command(app, "follow")
def follow_command(
    job: JobId, address: Address = None, cluster_file: ClusterFileOption = None
) -> None:
    """Print the output of a job from its start until it ends; exit with the job's status."""
    with job_client(address, cluster_file) as client:
        raise typer.Exit(_follow(client, job))


@console.command(app, "stop")
def stop_command(
    job: JobId, address: Address = None, cluster_file: ClusterFileOption = None
) -> None:
    """Stop a job as Ctrl-C stops a search: its run is kept."""
    with job_client(address, cluster_file) as client:
        client.stop(job, lambda line: print(line, flush=True))


@console.command(app, "jobs")
def jobs_command(
    address: Address = None,
    cluster_file: ClusterFileOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the jobs of a cluster, newest last."""
    with job_client(address, cluster_file) as client:
        jobs = client.jobs()
    if as_json:
        _print_json(jobs)
    else:
        _print_jobs(jobs)


# By kind of cluster: the file to edit, and the command that uses it.
NEXT = (
    ("your own machines", "onprem.yaml", "fmnist-cluster up"),
    ("Slurm", "slurm.sh", "sbatch cluster/slurm.sh run ..."),
    ("Kubernetes", "kuberay.yaml", "docker build ..., kubectl apply ..."),
    ("AWS", "aws.yaml", "docker build ..., ray up ..."),
)


def _print_written(done: Written) -> None:
    print(f"written into {done.folder}: {', '.join(done.written) or 'nothing'}")
    if done.kept:
        print(f"kept, as they exist: {', '.join(done.kept)} (remove one to have it written anew)")
    if done.left_out:
        names = ", ".join(done.left_out)
        print(f"warning: not in {REQUIREMENTS}, installed from a folder or repository: {names}")
    table = Table("for", "edit", "then", box=None, pad_edge=False)
    for kind, name, command in NEXT:
        table.add_row(kind, f"{FOLDER}/{name}", command)
    make_console().print(table)
    print(f"If your code imports more than is installed here, add it to {FOLDER}/{REQUIREMENTS}.")


def _follow(client: JobClient, job_id: str) -> int:
    try:
        return client.follow(job_id, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        print(f"\njob {job_id} keeps running\n{_next_commands(client, job_id)}", flush=True)
        return INTERRUPTED_STATUS
    except ConnectionLostError as error:
        print(f"error: {error}", file=sys.stderr)
        print(f"job {job_id} keeps running\n{_next_commands(client, job_id)}", file=sys.stderr)
        return LOST_STATUS


def _next_commands(client: JobClient, job_id: str) -> str:
    follow, stop = (client.command_line(command, job_id) for command in ("follow", "stop"))
    return f"to follow it: {follow}\nto stop it: {stop}"


def _print_jobs(jobs: list[Job]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("job", "status", "since"):
        table.add_column(column, no_wrap=True)
    table.add_column("command")
    for job in jobs:
        since = datetime.datetime.fromisoformat(job.since)
        table.add_row(job.id, job.status, f"{since:%Y-%m-%d %H:%M:%S}", job.command)
    make_console().print(table)


def _print_nodes(nodes: list[Node]) -> None:
    table = Table("node", "CPUs", "GPUs", "memory GiB", box=None, pad_edge=False)
    for node in nodes:
        table.add_row(node.address, f"{node.cpus:g}", f"{node.gpus:g}", f"{node.memory_gib:.1f}")
    make_console().print(table)


def _print_json(rows: Sequence[Node] | Sequence[Job]) -> None:
    print(json.dumps([asdict(row) for row in rows], indent=2))


def main() -> NoReturn:
    """Run the command line; an error is one line on the screen and a status that is not 0."""
    console.main(app, "fmnist-cluster", ClusterError)


if __name__ == "__main__":
    main()
