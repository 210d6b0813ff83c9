"""The HTTP CONNECT listener (RFC 9110 §9.3.6), between accepted sockets and the flow.

A task serves each connection from the accept to the answer; then the relay carries the tunnel.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from stagedoor.listeners.accept import (
    READ_BYTES,
    AcceptRules,
    Arrival,
    check_tls,
    read_proxy_header,
)
from stagedoor.listeners.downstream import Downstream
from stagedoor.listeners.limits import LIMITS, ClientLimits
from stagedoor.listeners.resume_endpoints import ResumeEndpoints
from stagedoor.listeners.resumption import Adopter, ResumableConnection
from stagedoor.model.credential import find_login_secret
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.fair_queue import FairQueue
from stagedoor.model.session import STOPPED
from stagedoor.model.source import Source, find_source_network
from stagedoor.net import aio
from stagedoor.net.tcp import TcpStream
from stagedoor.net.tls import TlsStream
from stagedoor.relay.loop import Relay
from stagedoor.session.access_request import answer_with_reason
from stagedoor.session.flow import Flow
from stagedoor.tasks import Tasks
from stagedoor.wire.http.connect import HeadParser, Request
from stagedoor.wire.ssh.preface import SshPreface

WrapTls = Callable[[TcpStream, bytes], TlsStream]
"""Wraps a plain stream in TLS, given the bytes already read from it."""


class _HungUpError(ConnectionError):
    """The client hung up, or TLS failed."""


@contextmanager
def _noting_hang_up() -> Iterator[None]:
    """Raise _HungUpError for an OSError in the block, which only reads from the client or writes to it."""
    try:
        yield
    except OSError as error:
        raise _HungUpError from error


class TunnelListener:
    """A listener that answers CONNECT on any number of sockets. Belongs to one event loop."""

    def __init__(
        self,
        flow: Flow,
        relay: Relay,
        rules: AcceptRules,
        endpoints: ResumeEndpoints | None = None,
        client_limits: ClientLimits = LIMITS,
    ) -> None:
        """`endpoints` keep resumable tunnels; None if there are none."""
        self._flow = flow
        self._endpoints = endpoints
        self.adopter = None if endpoints is None else Adopter(flow, endpoints)
        self._relay = relay
        self._rules = rules
        self._client_limits = client_limits
        self._pending: FairQueue[Downstream] = FairQueue(client_limits.max_pending)
        """The downstreams whose header has not arrived yet."""
        self._tasks = Tasks("a downstream was dropped by an internal fault")

    def serve_accepted(
        self, stream: TcpStream, source: Source, wrap_tls: WrapTls | None = None
    ) -> None:
        """Serve a client that was just accepted. `wrap_tls` is None if its socket does not use TLS."""
        downstream = Downstream(stream, source)
        serving = self._serve(downstream, stream, wrap_tls)
        task = self._tasks.start(serving, partial(self._close_unless_handed_over, downstream))
        downstream.cancel = task.cancel

    def _enter_queue(self, downstream: Downstream) -> None:
        """Add `downstream` to the queue, and drop the one that must make room for it, if any.

        A load balancer counts as the source until it has named its client, which it does at once.
        """
        victim = self._pending.enter(downstream, find_source_network(downstream.source.address))
        if victim is None:
            return
        victim.cancel(Reason.OVERLOADED)
        self._flow.record_denial(
            Denial(
                Reason.OVERLOADED,
                f"more than {self._client_limits.max_pending} connections had not sent a whole header, "
                "and this was the oldest of the network with the most of them",
            ),
            victim.origin,
        )

    def _close_unless_handed_over(self, downstream: Downstream, _: asyncio.Task[None]) -> None:
        if not downstream.is_handed_over:
            downstream.stream.abort()  # here, because a task that is cancelled at once never runs

    @property
    def unanswered_count(self) -> int:
        """Return the number of clients whose connection is not handed over or closed yet."""
        return len(self._tasks)

    async def drop_unanswered(self) -> None:
        """Drop the clients that have not been answered yet."""
        self._tasks.cancel(STOPPED)
        await self._tasks.wait()

    async def _serve(
        self, downstream: Downstream, stream: TcpStream, wrap_tls: WrapTls | None
    ) -> None:
        try:
            parser = HeadParser()
            with _noting_hang_up():
                request = None if wrap_tls else self._read_at_once(downstream, stream, parser)
                if request is None:
                    request = await self._wait_for_request(downstream, stream, wrap_tls, parser)
            if request is None:
                return
            if isinstance(request, Denial):
                await self._refuse(downstream, self._flow.record_denial(request, downstream.origin))
                return
            await self._enter(downstream, request)
        except _HungUpError:
            return
        except Exception:
            # The loop's handler logs the error. The client learns that the fault is the gateway's.
            if not downstream.is_answered:
                with suppress(OSError):
                    await downstream.send_refusal(
                        self._flow.record_denial(Denial.of_fault(), downstream.origin)
                    )
            raise

    async def _enter(self, downstream: Downstream, request: Request) -> None:
        """Enter the shell and start the tunnel, or refuse. Raises _HungUpError if the client has hung up."""
        downstream.request = request
        if find_login_secret(request.credential) and not downstream.is_private:
            denial = Denial(
                Reason.BAD_REQUEST,
                "the login's secret was sent over plain http, where others can read it; use https:// (log "
                "out and in again, since it is not secret any more: stagedoor logout)",
            )
            await self._refuse(downstream, self._flow.record_denial(denial, downstream.origin))
            return
        resumable = None
        if self._endpoints is not None and request.resume is not None:
            resumable = ResumableConnection(self._endpoints, request.resume)
        try:
            entered = await self._flow.enter_by_name(
                request.host,
                request.port,
                request.credential,
                downstream.origin,
                downstream.show_progress,
                may_wait=request.wants_progress,
                ask_reason=answer_with_reason(request.reason),
                resumable=resumable,
            )
        except BaseException:  # a cancellation too; it is raised again
            await downstream.stop_watching()
            raise
        if isinstance(entered, Denial):
            await downstream.stop_watching()
            await self._refuse(downstream, entered)
            return
        with entered.transfer() as hand_over:
            is_resumable = resumable is not None and resumable.is_resumable
            try:
                await downstream.stop_watching()  # in this block, because it can be cancelled
                with _noting_hang_up():
                    early = await downstream.accept(entered, self._flow.now(), is_resumable)
            except _HungUpError:
                if not is_resumable:
                    raise
                early = b""  # The session continues without its client, as after any other cut.
            except BaseException:
                if resumable is not None and resumable.keep_earlier_session(entered):
                    hand_over(resumable)
                raise
            if resumable is not None and is_resumable:
                start = partial(self._relay.start, downstream.stream, entered.stream, early)
                downstream.is_handed_over = True
                resumable.take_over(entered, start)
                hand_over(resumable)
                return
            preface = SshPreface(entered.grant.target)
            tunnel = self._relay.start(downstream.stream, entered.stream, early, entered, preface)
            downstream.is_handed_over = True
            hand_over(tunnel)

    async def _refuse(self, downstream: Downstream, denial: Denial) -> None:
        with _noting_hang_up():
            await downstream.send_refusal(denial)

    def _read_at_once(
        self, downstream: Downstream, stream: TcpStream, parser: HeadParser
    ) -> Request | Denial | None:
        """Return the request if it has already arrived, or None if it has not.

        Usually it has, and then the connection needs no timer and no place in the queue.
        """
        rules = self._rules
        if rules.is_proxy_header_required(downstream.source):
            return None
        if (denial := rules.check_source(downstream.source)) is not None:
            return denial
        received = stream.recv(READ_BYTES)
        return parser.feed(received) if received else None

    async def _wait_for_request(
        self,
        downstream: Downstream,
        stream: TcpStream,
        wrap_tls: WrapTls | None,
        parser: HeadParser,
    ) -> Request | Denial | None:
        """Read the request within the limits on time and on waiting connections. See `_read_request`."""
        self._enter_queue(downstream)
        try:
            # An absolute limit, which a slow trickle of bytes does not extend.
            async with asyncio.timeout(self._client_limits.header_timeout_s):
                return await self._read_request(downstream, stream, wrap_tls, parser)
        except TimeoutError:
            limit_s = self._client_limits.header_timeout_s
            return Denial(
                Reason.HEADER_TIMEOUT, f"the request's header was not complete after {limit_s:g} s"
            )
        finally:
            self._pending.remove(downstream)

    async def _read_request(
        self,
        downstream: Downstream,
        stream: TcpStream,
        wrap_tls: WrapTls | None,
        parser: HeadParser,
    ) -> Request | Denial | None:
        """Read the request. Return a denial if it is wrong, or None if the client left without one."""
        arrival = await read_proxy_header(stream, downstream.source, self._rules)
        if not isinstance(arrival, Arrival):
            return arrival
        received = arrival.received
        if arrival.is_proxied:
            # Administrators are responsible for the load balancer's network.
            downstream.is_protected = True
            self._pending.remove(downstream)
            downstream.source = arrival.source
            self._enter_queue(downstream)
        if (denial := self._rules.check_source(downstream.source)) is not None:
            # There is no TLS handshake for other networks, and so no way to send them an answer.
            downstream.is_muted = wrap_tls is not None
            return denial
        if wrap_tls is not None:
            received = received or await aio.read(stream, READ_BYTES)
            if not received:
                return None
            if (denial := check_tls(received)) is not None:
                return denial
            tls = wrap_tls(stream, received)
            downstream.stream, received = tls, b""
            await tls.complete_handshake()
            downstream.is_protected = True
        while True:
            if received and (request := parser.feed(received)) is not None:
                return request
            received = await aio.read(downstream.stream, READ_BYTES)
            if not received:
                return None
