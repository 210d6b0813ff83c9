"""The services beside the workers: health and metrics, the controller, the audit's output."""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from stagedoor.model.errors import StagedoorError
from stagedoor.model.metric import Series
from stagedoor.serve.health import Condition, HealthEndpoint
from stagedoor.serve.prepare import VerifiedSettings
from stagedoor.serve.supervisor.audit_index import AuditIndexer
from stagedoor.serve.supervisor.audit_output import AuditOutput
from stagedoor.serve.supervisor.controller_process import ControllerProcess
from stagedoor.serve.supervisor.sink_writer import OnProblem


class SideServices:
    """The services of one supervisor. At a hand-over they end before those of the next one begin."""

    def __init__(
        self,
        condition: Callable[[], Condition],
        measured: Callable[[], Mapping[Series, float]],
        on_problem: OnProblem,
    ) -> None:
        self.health = HealthEndpoint(condition, measured)
        self.audit = AuditOutput(on_problem)
        self._index = AuditIndexer(on_problem)
        self._controller = ControllerProcess()

    async def begin(self, checked: VerifiedSettings) -> None:
        """Begin all of them. If the address of health is taken, log it and go on without."""
        try:
            await self.health.listen(checked.settings.health)
        except StagedoorError as error:
            structlog.get_logger().error("health and metrics are not served", reason=str(error))
        await self.follow(checked)

    async def follow(self, checked: VerifiedSettings) -> None:
        """Run the controller and the audit's output by these settings."""
        await self._controller.follow(checked)
        await asyncio.to_thread(self.audit.follow, checked.settings)
        await asyncio.to_thread(self._index.follow, checked.settings)

    async def end(self) -> None:
        """End all of them. May be called again."""
        await self.health.stop()
        await self._controller.stop()
        await asyncio.to_thread(self._index.stop)
        await asyncio.to_thread(self.audit.stop)
