"""What the engine asks of Ray about processes and nodes, and what answers in a test too."""

from collections.abc import Iterable
from typing import Protocol

from search.ray import nodes, runtime
from search.ray.nodes import Whereabouts


class Cluster(Protocol):
    """The machines that a search runs on."""

    def is_up(self) -> bool:
        """Tell whether Ray still runs on this machine."""

    def is_node_up(self, where: Whereabouts) -> bool:
        """Tell whether a trial's node is up."""

    def end_process(self, where: Whereabouts) -> None:
        """End the process of a trial, whatever it is doing."""

    def process_started(self, where: Whereabouts) -> None:
        """Take note of where a trial begins."""

    def ended_for_memory(self, where: Whereabouts, others: Iterable[Whereabouts]) -> bool:
        """Tell whether the system ended a trial's process for want of memory.

        Args:
            where: The process, which has ended.
            others: The processes of trials that are not known to have ended.
        """


class RayCluster:
    """The Ray that this process has started or joined."""

    def __init__(self) -> None:
        self._out_of_memory = nodes.OutOfMemory()

    def is_up(self) -> bool:
        return runtime.is_up()

    def is_node_up(self, where: Whereabouts) -> bool:
        return nodes.is_node_up(where)

    def end_process(self, where: Whereabouts) -> None:
        nodes.end_process(where)

    def process_started(self, where: Whereabouts) -> None:
        self._out_of_memory.know(where)

    def ended_for_memory(self, where: Whereabouts, others: Iterable[Whereabouts]) -> bool:
        return self._out_of_memory.ended(where, others)
