"""One client of the HTTP CONNECT listener: its connection, and the answers to it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from stagedoor.listeners.accept import READ_BYTES, send_and_linger
from stagedoor.model.denial import Denial
from stagedoor.model.session import HUNG_UP, AccessMethod, LoginOrigin
from stagedoor.model.shell import ProgressStep
from stagedoor.model.source import Source
from stagedoor.net import aio
from stagedoor.net.tcp import TcpStream
from stagedoor.relay.ports import Stream
from stagedoor.session.entered import EnteredSession
from stagedoor.session.person_wait import PERSON_STEPS
from stagedoor.wire.http.answer import encode_established, encode_interim, encode_refusal
from stagedoor.wire.http.connect import Request

FIRST_BYTES_S = 1.0
"""How long to wait for ssh's first bytes behind corkscrew, before the shell's bytes follow the 200."""

MAX_INTERIMS = 40
"""The most interim answers during one start; our client reads 16 KiB of them."""


class Downstream:
    """The connection of one client, and the answers to its CONNECT: accepted, refused, in progress."""

    def __init__(self, stream: TcpStream, source: Source) -> None:
        self.stream: Stream = stream
        self.source = source
        self.request: Request | None = None
        self.cancel: Callable[[str], object] = lambda why: None
        """Cancels the task that serves this connection, for a reason."""
        self.is_muted = False
        """Whether a denial is only recorded, and no answer is sent."""
        self.is_answered = False
        self.is_handed_over = False
        self.is_protected = False
        """Whether TLS or a trusted load balancer is in front."""
        self._watching: asyncio.Task[None] | None = None
        self._interims = MAX_INTERIMS
        self._unsent = b""

    @property
    def is_private(self) -> bool:
        """Return whether the network cannot read what the client sends."""
        return self.is_protected or self.source.address.is_loopback

    @property
    def origin(self) -> LoginOrigin:
        """Return the origin for the flow and the audit."""
        trace = self.request.trace_context if self.request is not None else None
        return LoginOrigin(AccessMethod.CONNECT, self.source, trace)

    def show_progress(self, step: ProgressStep) -> None:
        """Send a step of the login as an interim answer (1xx), if the client asks for those.

        Only our own client does; other clients would fail on an unexpected 1xx. Bytes that the socket does
        not accept at once are sent with the answer. If the login waits for a person, it also ends when the
        client hangs up.
        """
        if step.name in PERSON_STEPS and self._watching is None:
            self._watching = asyncio.create_task(self._watch_hang_up())
        if self.request is None or not self.request.wants_progress or self._interims <= 0:
            return
        self._interims -= 1
        self._unsent += encode_interim(step)
        with suppress(OSError):  # the client has hung up; writing the answer will fail too
            self._unsent = self._unsent[self.stream.send(memoryview(self._unsent)) :]

    async def _watch_hang_up(self) -> None:
        """Cancel the login when the client hangs up. Keep bytes that arrive earlier for the tunnel."""
        try:
            early = await aio.read(self.stream, READ_BYTES)
        except OSError:
            early = b""
        if not early:
            self.cancel(HUNG_UP)
        elif self.request is not None:
            self.request = replace(self.request, early=self.request.early + early)

    async def stop_watching(self) -> None:
        """Stop reading the client's bytes, which the tunnel reads from now on."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    async def send_refusal(self, denial: Denial) -> None:
        """Send a refusal, and linger so that the client receives it. Raises OSError."""
        self.is_answered = True
        if self.is_muted:
            return
        unsent, self._unsent = self._unsent, b""
        await send_and_linger(self.stream, unsent + encode_refusal(denial))

    async def accept(self, entered: EnteredSession, now: float, is_resumable: bool) -> bytes:
        """Send the 200, and return the client's first bytes. Raises OSError."""
        assert self.request is not None, "only requests are accepted"
        early = self.request.early
        self.is_answered = True
        token_ends_at = entered.grant.identity.find_token_warning(now)
        unsent, self._unsent = self._unsent, b""
        await aio.write_all(
            self.stream,
            unsent
            + encode_established(entered.opened.id, token_ends_at, is_resumable=is_resumable),
        )
        if self.request.has_bare_line_feed and not early:
            # corkscrew drops bytes that arrive in one read with the 200, so let ssh send first.
            return await self._read_first_bytes()
        return early

    async def _read_first_bytes(self) -> bytes:
        try:
            async with asyncio.timeout(FIRST_BYTES_S):
                return await aio.read(self.stream, READ_BYTES)
        except TimeoutError:
            return b""
