"""One worker's process, from the supervisor's side."""

import asyncio
from collections.abc import Awaitable, Callable

from stagedoor.model.session import STOPPING
from stagedoor.serve.process import start_module
from stagedoor.serve.supervisor.control import (
    Close,
    Drain,
    Sign,
    Signed,
    StartMessage,
    encode_line,
    receive_from_worker,
)
from stagedoor.serve.supervisor.fleet_events import Exited, SpawnFailed, WorkerMessage
from stagedoor.tasks import Tasks

Report = Callable[[SpawnFailed | WorkerMessage | Exited], None]


class WorkerProcess:
    """The process of one worker, which reports everything about it to `report`, as events of the fleet.

    `run` is one task, from start to end. `sign` is called for the certificates that the worker requests.
    """

    def __init__(
        self,
        number: int,
        instance: str,
        report: Report,
        sign: Callable[[Sign], Awaitable[Signed]],
    ) -> None:
        self.instance = instance
        self._number = number
        self._report = report
        self._sign = sign
        self._signing = Tasks("the answer to a worker failed")
        self._process: asyncio.subprocess.Process | None = None
        self._unsent: list[bytes] = []
        """Messages for the process before it runs."""

    @property
    def pid(self) -> int | None:
        """The process id; None until it is started."""
        return None if self._process is None else self._process.pid

    def send(self, message: Drain | Close | Signed) -> None:
        """Send a message, once the process runs. It is lost if the process has ended."""
        if self._process is None:
            self._unsent.append(encode_line(message))
        elif self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(encode_line(message))

    def kill(self) -> None:
        """Kill the process, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def run(self, begin: Callable[[], StartMessage | None]) -> None:
        """Start the process with the message from `begin`, and report until it has ended.

        If `begin` returns None, the gateway is stopping, and the process is not started.
        """
        first = begin()  # not earlier, since the sockets may be closed before this task runs
        if first is None:
            self._report(SpawnFailed(self._number, STOPPING))
            return
        try:
            process = await start_module("stagedoor.serve.worker", [fd for _, fd in first.sockets])
        except OSError as error:
            why = f"a worker cannot be started: {error.strerror}"
            self._report(SpawnFailed(self._number, why))
            return
        assert process.stdin is not None
        self._process = process
        process.stdin.writelines([encode_line(first), *self._unsent])
        async for message in receive_from_worker(process):
            if isinstance(message, Sign):
                # A task, so that other messages are read meanwhile.
                self._signing.start(self._answer(message))
                continue
            self._report(WorkerMessage(self._number, message))
        self._report(Exited(self._number, await process.wait()))

    async def _answer(self, request: Sign) -> None:
        self.send(await self._sign(request))
