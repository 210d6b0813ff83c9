"""A cluster in which only a leader writes: who was stopped for a while wakes up as one of two."""

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from stagedoor.model.cluster import ClusterError, Object
from stagedoor.shells.kubernetes.ports import Cluster

Given = ParamSpec("Given")
Result = TypeVar("Result")


class LeaderOnly:
    """Satisfies `Cluster`: as `cluster`, but each write asks `leads` first.

    An election ends the task of a controller that lost, but only when the loop reaches it; a process that was
    suspended goes on in the middle of what it did.
    """

    def __init__(self, cluster: Cluster, leads: Callable[[], bool]) -> None:
        self._cluster = cluster
        self._leads = leads
        self.get, self.list, self.logs = cluster.get, cluster.list, cluster.logs
        self.watch, self.may, self.close = cluster.watch, cluster.may, cluster.close
        self.apply = self._leading(cluster.apply)
        self.create = self._leading(cluster.create)
        self.merge = self._leading(cluster.merge)
        self.delete = self._leading(cluster.delete)

    def _leading(
        self, write: Callable[Given, Coroutine[Any, Any, Result]]
    ) -> Callable[Given, Coroutine[Any, Any, Result]]:
        async def written(*args: Given.args, **named: Given.kwargs) -> Result:
            if not self._leads():
                raise ClusterError(
                    "this replica leads no more", status=None, reason="NotLeading", retry=True
                )
            return await write(*args, **named)

        return written

    async def report(
        self, about: Object, *, reason: str, message: str, warning: bool = False
    ) -> None:
        if self._leads():
            await self._cluster.report(about, reason=reason, message=message, warning=warning)
