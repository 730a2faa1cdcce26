"""``fmnist-cluster``: a Ray cluster for searches."""

import json
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from typer.exceptions import TyperException

from cluster.config import read_cluster_file
from cluster.errors import ClusterError
from cluster.fetch import fetch, newest_run
from cluster.hosts import Ssh
from cluster.launch import JOIN_SECONDS, down, nodes_of, up
from cluster.nodes import Node, live_nodes

INTERRUPTED_STATUS = 130

app = typer.Typer(
    help="Start, look at and end the Ray cluster that a search runs on; bring runs home.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Take the options of all commands."""


@app.command("nodes")
def nodes_command(
    file: Annotated[
        Path | None, typer.Argument(help="Cluster file, to ask its head. Default: --address.")
    ] = None,
    address: Annotated[
        str, typer.Option(help="HOST:PORT of the head; auto: the cluster of this machine.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the live nodes of a running Ray cluster and what each offers."""
    nodes = nodes_of(Ssh(read_cluster_file(file))) if file else live_nodes(address)
    if as_json:
        print(json.dumps([asdict(node) for node in nodes], indent=2))
        return
    _show(nodes)


File = Annotated[Path, typer.Argument(help="Cluster file, such as cluster/onprem.yaml.")]


@app.command("up")
def up_command(
    file: File = Path("cluster/onprem.yaml"),
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for machines once the head is up.")
    ] = JOIN_SECONDS,
) -> None:
    """Check the machines, start Ray on all, and count them."""
    _show(up(read_cluster_file(file), Console().print, join_seconds=wait))


@app.command("down")
def down_command(file: File = Path("cluster/onprem.yaml")) -> None:
    """End Ray on all machines of a cluster file."""
    down(read_cluster_file(file), Console().print)


@app.command("fetch")
def fetch_command(
    file: File = Path("cluster/onprem.yaml"),
    run: Annotated[
        str | None, typer.Option(help="Name of a run there, or its path. Default: the newest.")
    ] = None,
    into: Annotated[Path, typer.Option(help="Folder that it comes into.")] = Path("runs"),
) -> None:
    """Bring a run home from the head."""
    ssh = Ssh(read_cluster_file(file))
    Console().print(f"fetched: {fetch(ssh, run or newest_run(ssh), into)}")


def _show(nodes: list[Node]) -> None:
    table = Table("node", "CPUs", "GPUs", "memory GiB", box=None, pad_edge=False)
    for node in nodes:
        table.add_row(node.address, f"{node.cpus:g}", f"{node.gpus:g}", f"{node.memory_gib:.1f}")
    Console().print(table)


def main() -> NoReturn:
    """Run the command line; an error is one line on the screen and a status that is not 0."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"] or ["--help"]
    try:
        sys.exit(app(arguments, prog_name="fmnist-cluster", standalone_mode=False) or 0)
    except TyperException as error:
        _fail(error, error.format_message(), error.exit_code, debug)
    except ClusterError as error:
        _fail(error, str(error), 2, debug)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_STATUS)
    except Exception as error:
        _fail(error, f"{type(error).__name__}: {error} (--debug shows where)", 1, debug)


def _fail(error: BaseException, message: str, status: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exception(error)
    for line in message.splitlines():
        print(f"error: {line}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
