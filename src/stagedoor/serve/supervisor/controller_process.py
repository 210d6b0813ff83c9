"""The controller as a process beside the workers, for an installation on one machine.

A process of its own, because what it does may keep a CPU busy for a moment, and nobody's keystrokes
must wait for that.
"""

import asyncio
import sys
import time
from contextlib import suppress

import msgspec
import structlog

from stagedoor.serve.prepare import VerifiedSettings
from stagedoor.serve.supervisor import restart
from stagedoor.serve.supervisor.control import Failed, StartMessage, line, read_from_worker
from stagedoor.store.liveness.instances import new_instance_id

END_WITHIN_S = 10.0
"""How long the controller may take to end: a request that is under way, and its lease let go."""


class ControllerProcess:
    """Runs the controller while it is wanted, and starts it again if it dies."""

    def __init__(self) -> None:
        self._keeping: asyncio.Task[None] | None = None

    async def follow(self, checked: VerifiedSettings) -> None:
        """Run it by these settings, or not at all if they want none."""
        await self.close()
        wanted = checked.settings.kubernetes
        if (wanted.namespaces or wanted.leaving) and wanted.controller:
            self._keeping = asyncio.create_task(_keep(checked))

    async def close(self) -> None:
        """End it, and wait for its end."""
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping
            self._keeping = None


async def _keep(checked: VerifiedSettings) -> None:
    deaths = 0
    log = structlog.get_logger()
    while True:
        born = time.monotonic()
        try:
            why = await _live(checked)
        except OSError as error:
            why = str(error.strerror)
        deaths = restart.deaths_after(deaths, time.monotonic() - born)
        log.error("controller died", reason=why, restart_in_s=restart.delay_s(deaths))
        await asyncio.sleep(restart.delay_s(deaths))


async def _live(checked: VerifiedSettings) -> str:
    """One life of it; why it ended."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stagedoor.serve.controller",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # Ctrl-C is the supervisor's alone.
        process_group=0,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(line(StartMessage(checked.text, checked.name, new_instance_id(), ())))
        why = ""
        async for text in process.stdout:
            with suppress(msgspec.DecodeError):
                told = read_from_worker(text)
                if isinstance(told, Failed):
                    why = told.message
        code = await process.wait()
        return why or f"it ended with code {code}"
    finally:
        if process.returncode is None:
            # The end of its stdin ends it.
            process.stdin.close()
            try:
                async with asyncio.timeout(END_WITHIN_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
