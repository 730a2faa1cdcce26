"""The Ray engine as the rest of the program sees it. Ray is imported when it is to search."""

from dataclasses import dataclass

from search.plan.plan import Plan
from search.plan.task import Task
from search.ray.renewable import RenewableRay, Stored, fetch
from search.session.session import DeferredSession
from search.session.stopping import Stopping
from search.space.parameters import Space


@dataclass(frozen=True)
class RayEngine:
    """Runs many trials at once on Ray; the search goes on when that Ray is lost.

    Attributes:
        plan: What was asked.
        task: What all trials share.
        ray: Where they run.
        space: The space, where the driver knows it; None: a worker discovers it.
    """

    plan: Plan
    task: Task
    ray: RenewableRay
    space: Space | None = None

    @property
    def stored(self) -> Stored:
        return self.ray.stored

    def data_digest(self) -> str:
        return str(fetch(self.stored.digest))

    def search(self, deferred: DeferredSession, stopping: Stopping) -> None:
        from search.engines.ray import engine

        def search(stored: Stored) -> None:
            engine.search(
                self.plan,
                self.task,
                stored.content,
                deferred=deferred,
                stopping=stopping,
                space=self.space,
            )

        def progress() -> int:
            # A trial that ends without an epoch, such as one that eats all memory, is progress too.
            history = deferred.history
            return history.epochs_trained + len(history.trials) - len(history.unfinished())

        self.ray.searched(search, progress)
