"""The controller as a process beside the workers, for an installation on one machine.

It has its own process because its work may keep a CPU busy for a moment, and no keystroke must wait for
that.
"""

import asyncio
import sys
import time
from contextlib import suppress

import msgspec
import structlog

from stagedoor.serve.prepare import VerifiedSettings
from stagedoor.serve.supervisor import fleet
from stagedoor.serve.supervisor.control import Failed, StartMessage, line, read_from_worker
from stagedoor.store.liveness.instances import make_instance_id

END_WITHIN_S = 10.0
"""How long the controller may take to finish a request and release its lease at the end."""


class ControllerProcess:
    """The controller's process, restarted if it dies."""

    def __init__(self) -> None:
        self._keeping: asyncio.Task[None] | None = None

    async def follow(self, checked: VerifiedSettings) -> None:
        """Stop the controller, and run it by these settings if they want one."""
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
        deaths = fleet.count_deaths(deaths, time.monotonic() - born)
        log.error("controller died", reason=why, restart_in_s=fleet.delay_s(deaths))
        await asyncio.sleep(fleet.delay_s(deaths))


async def _run_once(checked: VerifiedSettings) -> str:
    """Run one process of the controller, and return why it ended."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stagedoor.serve.controller",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # Ctrl-C is for the supervisor only.
        process_group=0,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(line(StartMessage(checked.text, checked.name, make_instance_id(), ())))
        why = ""
        async for text in process.stdout:
            with suppress(msgspec.DecodeError):
                message = read_from_worker(text)
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
