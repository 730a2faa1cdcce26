"""What the engine asks of Ray about processes and nodes."""

from collections.abc import Iterable

from search.ray import nodes, runtime
from search.ray.nodes import Whereabouts


class Cluster:
    """The Ray that this process has started or joined; a test puts another in its place."""

    def __init__(self) -> None:
        self._out_of_memory = nodes.OutOfMemory()

    def is_up(self) -> bool:
        """Tell whether Ray still runs on this machine."""
        return runtime.is_up()

    def is_node_up(self, where: Whereabouts) -> bool:
        """Tell whether the node of a process is up."""
        return nodes.is_node_up(where)

    def end_process(self, where: Whereabouts) -> None:
        """End a process, whatever it is doing."""
        nodes.end_process(where)

    def process_started(self, where: Whereabouts) -> None:
        """Note where a trial starts."""
        self._out_of_memory.know(where)

    def ended_for_memory(self, where: Whereabouts, others: Iterable[Whereabouts]) -> bool:
        """Tell whether the system ended a process because memory ran out.

        Args:
            where: The process, which has ended.
            others: The processes of trials that are not known to have ended.
        """
        return self._out_of_memory.ended(where, others)
