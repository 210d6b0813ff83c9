"""The client of the HTTP CONNECT listener: its connection, and the answers that it gets."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from stagedoor.listeners.accept import READ_BYTES, send_and_linger
from stagedoor.model.denial import Denial
from stagedoor.model.session import AccessMethod, Origin
from stagedoor.model.shell import StartStep
from stagedoor.model.source import Source
from stagedoor.net import aio
from stagedoor.net.tcp import TcpStream
from stagedoor.relay.ports import Stream
from stagedoor.session.entered import Entered
from stagedoor.session.person_wait import PERSON_STEPS
from stagedoor.wire.http.answer import encode_established, encode_interim, encode_refusal
from stagedoor.wire.http.connect import Request

FIRST_BYTES_S = 1.0
"""The wait for the first bytes of a client that must not get the shell's together with the 200."""

MAX_INTERIMS = 40
"""The most interim answers during one start; our client reads 16 KiB of them."""


class Downstream:
    """The connection of one client, and the answers of CONNECT: accepted, refused, in progress."""

    def __init__(self, stream: TcpStream, source: Source) -> None:
        self.stream: Stream = stream
        self.source = source
        self.request: Request | None = None
        self.give_way: Callable[[], object] = lambda: None
        """Cancels the task that serves this connection."""
        self.mute = False
        """Whether no answer may be sent: then the denial is only recorded."""
        self.answered = False
        self.handed_over = False
        self.is_protected = False
        """Whether TLS or a trusted load balancer is in front."""
        self._watching: asyncio.Task[None] | None = None
        self._interims = MAX_INTERIMS
        self._unsent = b""

    @property
    def is_private(self) -> bool:
        """Return whether its bytes cannot be read on the way."""
        return self.is_protected or self.source.address.is_loopback

    @property
    def origin(self) -> Origin:
        """Return the origin for the flow and the audit."""
        trace = self.request.trace if self.request is not None else None
        return Origin(AccessMethod.CONNECT, self.source, trace)

    def show_progress(self, step: StartStep) -> None:
        """Send a step of the shell's start as an interim answer (1xx), if the client asks for those.

        Only our own client does; other clients would fail on an unexpected 1xx. Bytes that cannot be
        sent at once wait for the answer. While a person has to act, a client that hangs up ends the wait.
        """
        if step.name in PERSON_STEPS and self._watching is None:
            self._watching = asyncio.create_task(self._watch_hang_up())
        if self.request is None or not self.request.wants_progress or self._interims <= 0:
            return
        self._interims -= 1
        self._unsent += encode_interim(step)
        with suppress(OSError):  # the client has hung up, as writing the answer will show
            self._unsent = self._unsent[self.stream.send(memoryview(self._unsent)) :]

    async def _watch_hang_up(self) -> None:
        """End the wait when the client hangs up. Bytes that come before are kept for the tunnel."""
        try:
            early = await aio.read(self.stream, READ_BYTES)
        except OSError:
            early = b""
        if not early:
            self.give_way()
        elif self.request is not None:
            self.request = replace(self.request, early=self.request.early + early)

    async def stop_watching(self) -> None:
        """Leave the client's bytes to the tunnel again."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    async def refuse(self, denial: Denial) -> None:
        """Send a refusal, and wait so that it arrives. Raises OSError."""
        self.answered = True
        if self.mute:
            return
        unsent, self._unsent = self._unsent, b""
        await send_and_linger(self.stream, unsent + encode_refusal(denial))

    async def accept(self, entered: Entered, now: float, is_resumable: bool) -> bytes:
        """Send the 200, and return the bytes that the client has sent early. Raises OSError."""
        assert self.request is not None, "only requests are accepted"
        early = self.request.early
        self.answered = True
        token_ends_at = entered.grant.identity.warn_of_token_end(now)
        unsent, self._unsent = self._unsent, b""
        await aio.write_all(
            self.stream,
            unsent
            + encode_established(entered.opened.id, token_ends_at, is_resumable=is_resumable),
        )
        if self.request.bare_line_feed and not early:
            # corkscrew drops bytes that arrive in one read with the 200. Behind it, ssh sends first.
            return await self._read_first_bytes()
        return early

    async def _read_first_bytes(self) -> bytes:
        try:
            async with asyncio.timeout(FIRST_BYTES_S):
                return await aio.read(self.stream, READ_BYTES)
        except TimeoutError:
            return b""
