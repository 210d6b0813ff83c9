"""The supervisor that takes over, from the running one's side."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from stagedoor import __version__
from stagedoor.model.errors import StagedoorError
from stagedoor.net.listen import open_pair
from stagedoor.serve.prepare import Bound
from stagedoor.serve.supervisor.handover import (
    UNDERSTOOD,
    VARIABLE,
    VERSION,
    GatewayStop,
    HandoverChannel,
    HandoverOffer,
    Hello,
    Progress,
    Refusal,
    SuccessorReady,
)
from stagedoor.store.schema import SCHEMA_VERSION

READY_WITHIN_S = 80.0
"""How long the new program may take: longer than the 60 s of a worker, shorter than systemd's 90 s for a
reload."""
END_WITHIN_S = 5.0
"""How long a program that does not take over has to end by itself."""


class Successor:
    """A new program, from its start until it ends. Belongs to one event loop."""

    def __init__(self, process: Process, channel: HandoverChannel) -> None:
        self._process = process
        """The first process of the program, which ends once the program has left it (`predecessor`)."""
        self.channel = channel
        """The stream to the program. It ends when the old workers have no sessions left."""
        self.hello: Hello | None = None

    @classmethod
    async def start(
        cls, command: Sequence[str], sockets: Bound, older: tuple[tuple[int, int, int], ...] = ()
    ) -> Self:
        """Start the program with these sockets and the streams of older gateways. Raises StagedoorError."""
        offered = tuple(
            (*key, tuple(listening.list_descriptors())) for key, listening in sockets.items()
        )
        ours, theirs = open_pair()
        with theirs:
            number = theirs.fileno()
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=[
                        number,
                        *(fd for *_, fds in offered for fd in fds),
                        *(fd for fd, *_ in older),
                    ],
                    env={**os.environ, VARIABLE: str(number)},
                    # Ctrl-C is meant for the first supervisor, which passes it on.
                    process_group=0,
                )
            except OSError as error:
                ours.close()
                raise StagedoorError(
                    f"the new program cannot be started: {error.strerror}"
                ) from None
        channel = await HandoverChannel.open(ours)
        channel.send(
            HandoverOffer(VERSION, __version__, os.getpid(), SCHEMA_VERSION, offered, older)
        )
        return cls(process, channel)

    async def wait_until_ready(
        self, on_progress: Callable[[str], None], within_s: float = READY_WITHIN_S
    ) -> SuccessorReady:
        """Wait until its workers accept. `on_progress` is called with the step that it begins.

        Raises StagedoorError with the reason if it does not take over.
        """
        step = "starting"
        try:
            async with asyncio.timeout(within_s):
                while True:
                    match await self.channel.receive():
                        case Hello() as hello:
                            self.hello = hello
                            _check_version(hello)
                        case Progress(text):
                            step = text
                            on_progress(text)
                        case SuccessorReady() as ready if self.hello is not None:
                            return ready
                        case Refusal(reason):
                            raise StagedoorError(reason)
                        case None:
                            raise StagedoorError(await self._why_ended(step))
        except TimeoutError:
            raise StagedoorError(
                f"the new program was not ready after {within_s:g} s, while it was {step}"
            ) from None

    async def _why_ended(self, step: str) -> str:
        code = None
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                code = await self._process.wait()
        how = f" with code {code}" if code else ""
        return f"the new program ended{how} while it was {step}; the log has its last lines"

    async def follow(self, on_stop: Callable[[], None], on_settings: Callable[[str], None]) -> bool:
        """Handle the messages of this gateway and of those after it, until the last one ends.

        `on_settings` is called with the digest of its settings. Return whether it was stopped by a signal.
        """
        is_stopped = False
        while (message := await self.channel.receive()) is not None:
            match message:
                case GatewayStop():
                    is_stopped = True
                    on_stop()
                case Hello():
                    self.hello = message
                    on_settings(message.settings)
        await self.channel.close_stream()
        return is_stopped

    def signal(self, number: signal.Signals) -> None:
        """Send the program a signal, if it has not ended."""
        # Another process may have the number of an ended one, but then the stream has ended too.
        if self.hello is not None:
            if not self.channel.is_ended:
                with suppress(ProcessLookupError):
                    os.kill(self.hello.pid, number)
        elif self._process.returncode is None:
            self._process.send_signal(number)

    async def end(self) -> None:
        """End a program that does not take over: properly, or by force if that takes too long."""
        self.channel.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_WITHIN_S):
                while await self.channel.receive() is not None:
                    pass
        self.signal(signal.SIGKILL)
        await self._process.wait()
        await self.channel.close_stream()


def _check_version(hello: Hello) -> None:
    if hello.version not in UNDERSTOOD:
        raise StagedoorError(
            f"{__version__} cannot hand over to {hello.program}; restart the gateway instead"
        )
