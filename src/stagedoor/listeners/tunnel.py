"""The HTTP CONNECT listener (RFC 9110 §9.3.6): from an accepted socket to the flow, and back.

A task lives from the accept to the answer; the tunnel itself is the relay's.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from stagedoor.listeners.accept import (
    READ_BYTES,
    AcceptRules,
    Arrival,
    arrive,
    not_tls,
    say_and_linger,
)
from stagedoor.model.credential import login_secret
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.fair_queue import FairQueue
from stagedoor.model.session import AccessMethod, Origin
from stagedoor.model.shell import StartStep
from stagedoor.model.source import Source, source_network
from stagedoor.net import aio
from stagedoor.net.tcp import TcpStream
from stagedoor.net.tls import TlsStream
from stagedoor.relay.loop import Relay
from stagedoor.relay.ports import Stream
from stagedoor.session.entered import Entered
from stagedoor.session.flow import Flow
from stagedoor.wire.answer import encode_established, encode_interim, encode_refusal
from stagedoor.wire.connect import HeadParser, Request
from stagedoor.wire.ssh_preface import SshPreface

FIRST_BYTES_S = 1.0
"""How long we wait for the first bytes of a client that must not get the shell's with the 200."""

MAX_INTERIMS = 40
"""Of one start; our client reads 16 KiB of them."""

Secure = Callable[[TcpStream, bytes], TlsStream]
"""Makes a TLS stream of a plain one, given the bytes already read from it."""


@dataclass(frozen=True, slots=True)
class TunnelLimits:
    """The `[listen]` settings as this listener uses them."""

    rules: AcceptRules
    header_timeout_s: float
    max_pending: int


class TunnelListener:
    """Answers CONNECT on any number of sockets. Belongs to one event loop."""

    def __init__(self, flow: Flow, relay: Relay, limits: TunnelLimits) -> None:
        self._flow = flow
        self._relay = relay
        self._limits = limits
        self._pending: FairQueue[_Downstream] = FairQueue(limits.max_pending)
        """Downstreams whose header has not come yet."""
        self._tasks = aio.Tasks("a downstream was dropped by an internal fault")

    def accepted(self, stream: TcpStream, source: Source, secure: Secure | None = None) -> None:
        """Take a downstream that was just accepted; `secure` where this socket speaks TLS."""
        downstream = _Downstream(stream, source)
        serving = self._serve(downstream, stream, secure)
        task = self._tasks.start(serving, partial(self._done, downstream))
        downstream.give_way = task.cancel
        self._wait_for_header(downstream)

    def _wait_for_header(self, downstream: "_Downstream") -> None:
        """Count `downstream` by its source, and close the one that has to go for it.

        Until a load balancer has said for whom it speaks, which it does at once, it is the source.
        """
        victim = self._pending.enter(downstream, source_network(downstream.source.address))
        if victim is None:
            return
        victim.give_way()
        self._flow.deny(
            Denial(
                Reason.OVERLOADED,
                f"more than {self._limits.max_pending} connections had not sent a whole header "
                "(listen.max_pending), and this was the oldest of the source that has most of them",
            ),
            victim.origin,
        )

    def _done(self, downstream: "_Downstream", _: asyncio.Task[None]) -> None:
        self._pending.remove(downstream)
        if not downstream.handed_over:
            downstream.stream.abort()  # here, because a task that is cancelled at once never runs

    @property
    def busy(self) -> int:
        """How many downstreams are between the accept and the answer."""
        return len(self._tasks)

    async def close(self) -> None:
        """Drop those who have not been let in yet."""
        self._tasks.cancel()
        await self._tasks.wait()

    async def _serve(
        self, downstream: "_Downstream", stream: TcpStream, secure: Secure | None
    ) -> None:
        try:
            request: Request | Denial | None
            try:
                # Absolute (line 12): no byte that drips in moves it.
                async with asyncio.timeout(self._limits.header_timeout_s):
                    request = await self._request(downstream, stream, secure)
            except TimeoutError:
                limit_s = self._limits.header_timeout_s
                request = Denial(
                    Reason.HEADER_TIMEOUT,
                    f"the request's header was not complete after {limit_s:g} s",
                )
            self._pending.remove(downstream)
            if request is None:
                return
            if isinstance(request, Denial):
                await downstream.refuse(self._flow.deny(request, downstream.origin))
                return
            await self._enter(downstream, request)
        except OSError:
            return  # the downstream has gone: there is nobody to tell
        except Exception:
            # The loop's handler logs it. The developer reads that it is not their fault.
            if not downstream.answered:
                with suppress(OSError):
                    await downstream.refuse(self._flow.deny(Denial.internal(), downstream.origin))
            raise

    async def _enter(self, downstream: "_Downstream", request: Request) -> None:
        """Raises OSError where the downstream has gone."""
        downstream.request = request
        if login_secret(request.credential) and not downstream.private:
            denial = Denial(
                Reason.BAD_REQUEST,
                "the secret of a login came over plain http, where others can read it; use https:// (log out "
                "and in again, since it is not secret any more: stagedoor logout)",
            )
            await downstream.refuse(self._flow.deny(denial, downstream.origin))
            return
        entered = await self._flow.enter_by_name(
            request.host,
            request.port,
            request.credential,
            downstream.origin,
            downstream.progress,
            waits=request.wants_progress,
        )
        if isinstance(entered, Denial):
            await downstream.refuse(entered)
            return
        with entered.carry() as hand_over:
            early = await downstream.accept(entered, self._flow.now())
            preface = SshPreface(entered.grant.target.shell_name)
            link = self._relay.start(
                downstream.stream, entered.stream, early, entered.leave, preface
            )
            downstream.handed_over = True
            hand_over(link)

    async def _request(
        self, downstream: "_Downstream", stream: TcpStream, secure: Secure | None
    ) -> Request | Denial | None:
        """The request, or why it is none; None if the downstream said nothing and left."""
        arrival = await arrive(stream, downstream.source, self._limits.rules)
        if not isinstance(arrival, Arrival):
            return arrival
        received = arrival.received
        if arrival.is_proxied:
            downstream.private = True  # the load balancer's network is the administrator's to judge
            self._pending.remove(downstream)
            downstream.source = arrival.source
            self._wait_for_header(downstream)
        if (outsider := self._limits.rules.outsider(downstream.source)) is not None:
            # Strangers get no handshake, and over TLS there are no words without one.
            downstream.mute = secure is not None
            return outsider
        if secure is not None:
            received = received or await aio.read(stream, READ_BYTES)
            if not received:
                return None
            if (wrong := not_tls(received)) is not None:
                return wrong
            tls = secure(stream, received)
            downstream.stream, received = tls, b""
            await tls.handshake()
            downstream.private = True
        parser = HeadParser()
        while True:
            if received and (request := parser.feed(received)) is not None:
                return request
            received = await aio.read(downstream.stream, READ_BYTES)
            if not received:
                return None


class _Downstream:
    """One client: how CONNECT says yes, no and wait."""

    def __init__(self, stream: TcpStream, source: Source) -> None:
        self.stream: Stream = stream
        self.source = source
        self.request: Request | None = None
        self.give_way: Callable[[], object] = lambda: None
        """Ends the task that serves it."""
        self.mute = False
        """Nothing may be said: the denial is only written down."""
        self.answered = False
        self.handed_over = False
        self.private = source.address.is_loopback
        """Nobody on the way can read what it sends."""
        self._interims = MAX_INTERIMS
        self._unsent = b""

    @property
    def origin(self) -> Origin:
        trace = self.request.trace if self.request is not None else None
        return Origin(AccessMethod.CONNECT, self.source, trace)

    def progress(self, step: StartStep) -> None:
        """CONNECT has no word for it: an interim 1xx would break every stock client (line 7).

        Ours asks for it. Whatever does not go out at once waits for the answer.
        """
        if self.request is None or not self.request.wants_progress or self._interims <= 0:
            return
        self._interims -= 1
        self._unsent += encode_interim(step)
        with suppress(OSError):  # it has gone, which writing the answer will show
            self._unsent = self._unsent[self.stream.send(memoryview(self._unsent)) :]

    async def refuse(self, denial: Denial) -> None:
        """Say why, so that it arrives. Raises OSError."""
        self.answered = True
        if self.mute:
            return
        unsent, self._unsent = self._unsent, b""
        await say_and_linger(self.stream, unsent + encode_refusal(denial))

    async def accept(self, entered: Entered, now: float) -> bytes:
        """Say yes; returns what the client has sent early. Raises OSError."""
        assert self.request is not None, "only what has asked is let in"
        early = self.request.early
        self.answered = True
        token_ends_at = entered.grant.identity.token_ends_soon(now)
        unsent, self._unsent = self._unsent, b""
        await aio.write_all(
            self.stream, unsent + encode_established(entered.opened.id, token_ends_at)
        )
        if self.request.bare_line_feed and not early:
            # corkscrew drops what comes in one read with the 200; ssh speaks first through it.
            return await self._first_bytes()
        return early

    async def _first_bytes(self) -> bytes:
        try:
            async with asyncio.timeout(FIRST_BYTES_S):
                return await aio.read(self.stream, READ_BYTES)
        except TimeoutError:
            return b""
