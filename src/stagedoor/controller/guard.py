"""A cluster API to which only the leader can write, also if a suspended process resumes after an election."""

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from stagedoor.model.cluster import ClusterError, Object
from stagedoor.shells.kubernetes.ports import Cluster

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class LeaderOnly:
    """A `Cluster` that passes every call on to `cluster`, and refuses writes unless `leads()` is true.

    An election cancels the task of a controller that lost, but only when its event loop runs again. A process
    that was suspended first continues with the write that it was about to make.
    """

    def __init__(self, cluster: Cluster, leads: Callable[[], bool]) -> None:
        self._cluster = cluster
        self._leads = leads
        self.get, self.list, self.logs = cluster.get, cluster.list, cluster.logs
        self.watch, self.may, self.close_connections = (
            cluster.watch,
            cluster.may,
            cluster.close_connections,
        )
        self.apply = self._guard(cluster.apply)
        self.create = self._guard(cluster.create)
        self.merge = self._guard(cluster.merge)
        self.delete = self._guard(cluster.delete)

    def _guard(
        self, write: Callable[Arguments, Coroutine[Any, Any, Result]]
    ) -> Callable[Arguments, Coroutine[Any, Any, Result]]:
        async def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            if not self._leads():
                raise ClusterError(
                    "this replica leads no more", status=None, reason="NotLeading", retry=True
                )
            return await write(*args, **kwargs)

        return guarded

    async def report(
        self, about: Object, *, reason: str, message: str, warning: bool = False
    ) -> None:
        """Create an Event as `Cluster.report` does; do nothing in a replica that does not lead."""
        if self._leads():
            await self._cluster.report(about, reason=reason, message=message, warning=warning)
