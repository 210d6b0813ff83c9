"""One worker's process, for the supervisor: started, told, listened to, and killed."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from stagedoor.serve.supervisor.control import (
    Close,
    Drain,
    Sign,
    Signed,
    StartMessage,
    line,
    read_from_worker,
)
from stagedoor.serve.supervisor.fleet import STOPPING, Exited, SpawnFailed, WorkerMessage

Report = Callable[[SpawnFailed | WorkerMessage | Exited], None]


class WorkerProcess:
    """Reports what happens to it as events of the fleet. `run` is one task, from start to end.

    `sign` is asked for the certificates that the worker wants.
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
        self._signing: set[asyncio.Task[None]] = set()
        self._process: asyncio.subprocess.Process | None = None
        self._untold: list[bytes] = []
        """Messages to a process that does not run yet."""

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def tell(self, message: Drain | Close | Signed) -> None:
        """Send it a message, as soon as it runs; a process that has gone misses it."""
        if self._process is None:
            self._untold.append(line(message))
        elif self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(line(message))

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def run(self, begin: Callable[[], StartMessage | None]) -> None:
        """Start it by `begin`, and report until it has ended. None: it is to be started no more."""
        first = begin()  # not before: its sockets may be closed until this task runs
        if first is None:
            self._report(SpawnFailed(self._number, STOPPING))
            return
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "stagedoor.serve.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=[fd for _, fd in first.sockets],
                # Ctrl-C is the supervisor's alone: how workers stop is for it to say.
                process_group=0,
            )
        except OSError as error:
            why = f"a worker cannot be started: {error.strerror}"
            self._report(SpawnFailed(self._number, why))
            return
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        process.stdin.writelines([line(first), *self._untold])
        async for text in process.stdout:
            try:
                message = read_from_worker(text)
            except msgspec.DecodeError:  # somebody printed there; it must not cost us the worker
                structlog.get_logger().error("worker says what is no message", worker=process.pid)
                continue
            if isinstance(message, Sign):
                # A task, so that whatever else it says is heard meanwhile.
                task = asyncio.create_task(self._answer(message))
                self._signing.add(task)
                task.add_done_callback(self._signing.discard)
                continue
            self._report(WorkerMessage(self._number, message))
        self._report(Exited(self._number, await process.wait()))

    async def _answer(self, request: Sign) -> None:
        self.tell(await self._sign(request))
