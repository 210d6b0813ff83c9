"""The WebShell's listener: it hands accepted sockets to uvicorn on the worker's event loop."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import uvicorn

from stagedoor.listeners.accept import (
    READ_BYTES,
    Arrival,
    check_tls,
    read_proxy_header,
    send_and_linger,
)
from stagedoor.listeners.web.app import WebApp
from stagedoor.listeners.web.guard import make_web_login_origin
from stagedoor.listeners.web.http import HttpServerProtocol
from stagedoor.listeners.web.pending import PendingConnection
from stagedoor.listeners.web.terminal.presence import count_holders
from stagedoor.listeners.web.websocket import WebSocketProtocol
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.fair_queue import FairQueue
from stagedoor.model.farewell import REFUSAL_S
from stagedoor.model.session import STOPPED
from stagedoor.model.source import Source
from stagedoor.net import aio
from stagedoor.net.listen import Socket
from stagedoor.net.tcp import TcpStream
from stagedoor.net.tls import ServerTls, TlsStream
from stagedoor.net.transport import StreamTransport
from stagedoor.tasks import Tasks
from stagedoor.wire.http.answer import encode_refusal
from stagedoor.wire.terminal.frames import MAX_FRAME_BYTES


class StartQueue:
    """A queue of connections that have sent their first bytes. Belongs to one event loop.

    Starting a connection takes about a millisecond, so behind a thousand others it would wait a second. So
    sources take turns. `UnauthenticatedConnections` limits how many wait.
    """

    def __init__(self) -> None:
        self._turns = FairQueue[asyncio.Future[None]]()
        self._next: asyncio.Handle | None = None

    async def wait_for_turn(self, source: str, deadline: asyncio.Timeout) -> None:
        """Wait until a connection from `source` may start.

        The `deadline` is extended by the time spent here, which the client does not cause.
        """
        loop = asyncio.get_running_loop()
        due, began = deadline.when(), loop.time()
        deadline.reschedule(None)
        waiter: asyncio.Future[None] = loop.create_future()
        self._turns.add(waiter, source)
        if self._next is None:
            self._next = loop.call_soon(self._start_next, loop)
        try:
            await waiter
        except asyncio.CancelledError:
            self._turns.remove(waiter)
            raise
        if due is not None:
            deadline.reschedule(due + loop.time() - began)

    def _start_next(self, loop: asyncio.AbstractEventLoop) -> None:
        waiter = self._turns.take()
        if waiter is None:
            self._next = None
            return
        if not waiter.done():
            waiter.set_result(None)
        self._next = loop.call_soon(self._start_next, loop)


SHUTDOWN_S = 3
"""How long connections may stay open after the last terminal was asked to end, seconds."""


IDLE_S = 5
"""The longest pause of a client's connection between two requests, seconds."""
PROXY_IDLE_S = 620
"""The same for a reverse proxy, which has to close first: if the gateway does, the proxy cannot know whether
a request that it is sending was served, and answers 502. Google's load balancers keep a connection for 600 s,
Traefik for 90 s, nginx and AWS for 60 s."""


class _Server(uvicorn.Server):
    """uvicorn without its own sockets and signals: we accept connections, and the worker stops it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping = asyncio.Event()

    async def main_loop(self) -> None:
        # uvicorn's own loop wakes up ten times a second to check whether it should stop.
        while not self._stopping.is_set():
            await self.on_tick(0)  # updates the Date header
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._stopping.wait()

    def stop(self) -> None:
        self.should_exit = True
        self._stopping.set()

    async def startup(self, sockets: list[Socket] | None = None) -> None:
        self.servers = []
        self.started = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class WebListener:
    """The server of one `WebApp` on any number of sockets. Belongs to one event loop.

    `tls` is for the sockets that use TLS; None if there are none.
    """

    def __init__(self, app: WebApp, tls: ServerTls | None = None) -> None:
        self._app = app
        self._settings = app.guard.settings
        self._pending = app.pending
        self._tls = tls
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._rules = app.guard.rules
        self._tasks = Tasks("a connection was dropped by an internal fault")
        self._starts = StartQueue()

    def start(self) -> None:
        """Start uvicorn on the running event loop."""
        config = uvicorn.Config(
            self._app.app,
            http=HttpServerProtocol,
            ws=WebSocketProtocol,
            ws_max_size=MAX_FRAME_BYTES,
            # The PINGs keep proxies from closing idle connections. A missing PONG proves nothing, since it
            # waits behind a flood of output; TCP detects dead peers.
            ws_ping_interval=self._settings.client_limits.ping_s,
            ws_ping_timeout=None,
            lifespan="off",
            interface="asgi3",
            loop="none",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
        config.load()
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve([]))

    def serve_accepted(self, stream: TcpStream, source: Source, *, is_tls: bool) -> None:
        """Serve a connection that was just accepted; `is_tls` is whether its socket uses TLS."""
        pending = self._pending.add(source, self._rules.find_counted_source(source))
        task = self._tasks.start(
            self._begin(stream, pending, is_tls), partial(_close_unless_begun, stream, pending)
        )
        pending.drop_for_room = partial(self._drop_for_room, pending, task.cancel)

    @property
    def terminals(self) -> int:
        """The number of open WebSockets of terminals."""
        return len(self._app.sessions)

    @property
    def holders(self) -> int:
        """The number of holders that serve them: one process in a shell per terminal."""
        return count_holders(self._app.sessions)

    def drain(self) -> None:
        """Refuse new requests and keep open terminals. The caller has stopped accepting connections."""
        self._app.guard.draining = True
        assert self._server is not None, "it has been started"
        for connection in list(self._server.server_state.connections):
            # Otherwise a browser or proxy would send its next request here, and not to the next worker.
            if isinstance(connection, HttpServerProtocol):
                connection.shutdown()

    async def close(self) -> None:
        """Stop answering. Terminals that the flow has ended still get their last notice."""
        self._tasks.cancel(STOPPED)
        if self._server is not None and self._serving is not None:
            self._server.stop()
            await asyncio.gather(self._serving, self._tasks.wait(), return_exceptions=True)

    # From the accept to HTTP.

    async def _begin(self, stream: TcpStream, pending: PendingConnection, is_tls: bool) -> None:
        timeout_s = self._settings.client_limits.header_timeout_s
        carried: TcpStream | TlsStream = stream
        try:
            async with asyncio.timeout(timeout_s) as deadline:
                received = await self._first_bytes(stream, pending, is_tls)
                if not received:
                    return
                counted_source = self._rules.find_counted_source(pending.source)
                await self._starts.wait_for_turn(counted_source, deadline)
                if is_tls:
                    assert self._tls is not None, "a socket that speaks TLS has a certificate"
                    carried = TlsStream(stream, self._tls, received, READ_BYTES)
                    received = b""
                    await carried.complete_handshake()
        except (OSError, TimeoutError):
            return  # the client has gone, the handshake failed, or no request came
        assert self._server is not None, "it is started before anything is accepted"
        due = deadline.when()
        assert due is not None, "it has a deadline"
        transport = StreamTransport(carried, pending.source, self._tls if is_tls else None)
        transport.on_lost = pending.release
        pending.peer = transport
        pending.drop_for_room = partial(self._drop_for_room, pending, transport.abort)
        protocol = HttpServerProtocol(
            pending,
            timeout_s,
            due,
            self._record_denial,
            PROXY_IDLE_S if self._rules.is_reverse_proxy(pending.source) else IDLE_S,
            config=self._server.config,
            server_state=self._server.server_state,
        )
        transport.start(protocol, received)

    async def _first_bytes(
        self, stream: TcpStream, pending: PendingConnection, is_tls: bool
    ) -> bytes:
        """Return the client's first bytes, or b"" to hang up. Refused sources get no TLS handshake."""
        arrival = await read_proxy_header(stream, pending.source, self._rules)
        if isinstance(arrival, Denial):
            self._record_denial(arrival, pending.source)
        if not isinstance(arrival, Arrival):
            return b""
        received = arrival.received
        if arrival.source != pending.source:
            pending.set_source(arrival.source, self._rules.find_counted_source(arrival.source))
        denial = self._app.guard.check_peer(pending.source)
        if denial is None:
            received = received or await aio.read(stream, READ_BYTES)
            if not received:
                return b""
            self._pending.mark_spoken(
                pending, self._rules.find_counted_source(pending.source), is_tls=is_tls
            )
            denial = check_tls(received) if is_tls else None
            if denial is None:
                return received
            is_tls = False
        self._record_denial(denial, pending.source)
        if not is_tls:
            await _send_refusal(stream, denial, received)
        return b""

    def _record_denial(self, denial: Denial, source: Source) -> None:
        """Audit the refusal of a client that has not sent a whole request."""
        self._app.guard.flow.record_denial(denial, make_web_login_origin(source))

    def _drop_for_room(self, pending: PendingConnection, end: Callable[[], object]) -> None:
        if pending.has_spoken:
            denial = Denial(
                Reason.OVERLOADED,
                "more connections than this worker keeps had not signed in, and this was the oldest of the "
                "network with the most of them",
            )
            self._record_denial(denial, pending.source)
        end()


def _close_unless_begun(
    stream: TcpStream, pending: PendingConnection, _: asyncio.Task[None]
) -> None:
    if pending.peer is None:
        pending.release()
        stream.close()  # at most a refusal is unsent


async def _send_refusal(stream: TcpStream, denial: Denial, received: bytes) -> None:
    """Answer in plain HTTP why the client is refused, once it has sent something. Raises OSError."""
    with suppress(TimeoutError):
        async with asyncio.timeout(REFUSAL_S):
            received = received or await aio.read(stream, READ_BYTES)
    if received:
        await send_and_linger(stream, encode_refusal(denial))
