"""The services beside the workers: health and metrics, the controller, the audit's output.

The controller of an installation on one machine has its own process, since its work may keep a CPU busy for a
moment, and no keystroke should wait for that.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog

from stagedoor.model.errors import StagedoorError
from stagedoor.model.metric import Series
from stagedoor.serve.health import Condition, HealthEndpoint
from stagedoor.serve.prepare import VerifiedSettings
from stagedoor.serve.process import start_module
from stagedoor.serve.supervisor import fleet
from stagedoor.serve.supervisor.audit_index import AuditIndexer
from stagedoor.serve.supervisor.audit_output import AuditOutput
from stagedoor.serve.supervisor.control import (
    Failed,
    StartMessage,
    encode_line,
    receive_from_worker,
)
from stagedoor.serve.supervisor.sink_writer import OnProblem
from stagedoor.store.liveness.instances import make_instance_id

END_WITHIN_S = 10.0
"""The time for the controller to finish a request and release its lease when it stops."""


class ControllerProcess:
    """The controller's process, restarted if it dies."""

    def __init__(self) -> None:
        self._keeping: asyncio.Task[None] | None = None

    async def apply_settings(self, checked: VerifiedSettings) -> None:
        """Stop the controller, and run it with these settings if they ask for one."""
        await self.stop()
        wanted = checked.settings.kubernetes
        if wanted.is_controlled and wanted.controller:
            self._keeping = asyncio.create_task(_keep_running(checked))

    async def stop(self) -> None:
        """Stop the controller, and wait for its end."""
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping
            self._keeping = None


async def _keep_running(checked: VerifiedSettings) -> None:
    deaths = 0
    log = structlog.get_logger()
    while True:
        born = time.monotonic()
        try:
            why = await _run_once(checked)
        except OSError as error:
            why = str(error.strerror)
        except Exception as error:  # a bug must not leave the cluster without a controller
            why = f"{type(error).__name__}: {error}"
        deaths = fleet.count_deaths(deaths, time.monotonic() - born)
        log.error("controller died", reason=why, restart_in_s=fleet.choose_delay_s(deaths))
        await asyncio.sleep(fleet.choose_delay_s(deaths))


async def _run_once(checked: VerifiedSettings) -> str:
    """Run one process of the controller, and return why it ended."""
    process = await start_module("stagedoor.serve.controller")
    assert process.stdin is not None
    try:
        process.stdin.write(
            encode_line(StartMessage(checked.text, checked.name, make_instance_id(), ()))
        )
        why = ""
        async for message in receive_from_worker(process):
            if isinstance(message, Failed):
                why = message.message
        code = await process.wait()
        return why or f"it ended with code {code}"
    finally:
        if process.returncode is None:
            # The process ends when its stdin does.
            process.stdin.close()
            try:
                async with asyncio.timeout(END_WITHIN_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


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
        """Begin all of them. If the address for health is taken, log this and continue without it."""
        try:
            await self.health.listen(checked.settings.health)
        except StagedoorError as error:
            structlog.get_logger().error("health and metrics are not served", reason=str(error))
        await self.apply_settings(checked)

    async def apply_settings(self, checked: VerifiedSettings) -> None:
        """Run the controller and the audit's output with these settings."""
        await self._controller.apply_settings(checked)
        await asyncio.to_thread(self.audit.apply_settings, checked.settings)
        await asyncio.to_thread(self._index.apply_settings, checked.settings)

    async def end(self) -> None:
        """End all of them. May be called again."""
        await self.health.stop()
        await self._controller.stop()
        await asyncio.to_thread(self._index.stop)
        await asyncio.to_thread(self.audit.stop)
