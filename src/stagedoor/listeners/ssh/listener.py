"""The SSH listener, which turns accepted sockets into connections, reviews them, and closes them."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import asyncssh

from stagedoor.listeners.accept import Arrival, read_proxy_header
from stagedoor.listeners.limits import StartupLimits
from stagedoor.listeners.ssh.connection import ClientConnection
from stagedoor.listeners.ssh.context import ListenerContext
from stagedoor.listeners.ssh.direct.driver import DirectParts
from stagedoor.listeners.ssh.options import HostKey, SshListenerSettings, make_server_options
from stagedoor.listeners.ssh.packets import READ_BYTES as READ_BUFFER_BYTES
from stagedoor.listeners.ssh.page import PageParts
from stagedoor.listeners.ssh.pending_keys import PendingLogins
from stagedoor.listeners.ssh.router import ChannelRouter
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.fair_queue import FairQueue
from stagedoor.model.rate import SiteRates
from stagedoor.model.session import CONNECT_AGAIN, STOPPED, STOPPING
from stagedoor.model.source import Source, find_source_network
from stagedoor.model.units import DAY_S
from stagedoor.net import aio
from stagedoor.net.tcp import TcpStream
from stagedoor.session.flow import Flow
from stagedoor.tasks import Tasks, report_fault

REVIEW_EVERY_S = 2.0
FAULT = "an internal fault in the SSH listener"
RENEW_S = DAY_S
"""How often the host certificate is signed again, so that it never expires while a worker runs."""

_TOO_FAST = Denial.with_fix(
    Reason.THROTTLED,
    "too many SSH connections came from this address or network at once",
    "ssh.handshakes_per_s",
)


Key = TypeVar("Key")


class Startups(FairQueue[Key]):
    """The connections that have not logged in yet, and the choice of one to drop. Pure.

    sshd(8) MaxStartups drops new connections at random, so a flood locks all users out. Here the probability
    is the same, but the dropped connection is a waiting one of the source with the most of them. So a flood
    from one network displaces its own connections, and other clients can log in. `roll` returns a random
    number in [0, 1).
    """

    def __init__(self, limits: StartupLimits, roll: Callable[[], float]) -> None:
        super().__init__()
        self._limits = limits
        self._roll = roll

    def enter(self, key: Key, source: str) -> Key | None:
        """Add `key`, and return the connection to drop to make room for it, or None."""
        victim: Key | None = None
        if len(self) and self._must_drop():
            keys = self.list_fullest_keys()
            victim = keys[int(self._roll() * len(keys))]
            self.remove(victim)
        self.add(key, source)
        return victim

    def _must_drop(self) -> bool:
        limits, waiting = self._limits, len(self)
        if waiting < limits.start:
            return False
        if waiting >= limits.full:
            return True
        grown = (waiting - limits.start) / (limits.full - limits.start)
        return self._roll() * 100 < limits.rate + (100 - limits.rate) * grown


class SshListener:
    """A listener that answers SSH on any number of sockets. Belongs to one event loop.

    `host_key` returns the gateway's key with a fresh certificate; it may block for a moment.
    """

    def __init__(
        self,
        flow: Flow,
        settings: SshListenerSettings,
        host_key: Callable[[], HostKey],
        direct: DirectParts,
        page: PageParts,
    ) -> None:
        self._settings = settings
        self._host_key = host_key
        self._options = make_server_options(host_key(), settings)
        self._options_at = time.monotonic()
        self._startups: Startups[ClientConnection] = Startups(
            settings.client_limits.startups, random.random
        )
        self._context = ListenerContext(
            flow,
            settings,
            direct,
            page,
            PendingLogins(),
            self._startups.remove,
            self._remove,
            self._report_fault,
        )
        self._handshakes = SiteRates(settings.handshakes)
        self._routers: set[ChannelRouter] = set()
        self._tasks = Tasks(FAULT)
        self._reviewing: asyncio.Task[None] | None = None
        self._draining = asyncio.Event()
        self._buffer = memoryview(bytearray(READ_BUFFER_BYTES))

    @property
    def unanswered_count(self) -> int:
        """Return the number of new connections and channel requests that are not answered yet."""
        return len(self._tasks) + sum(router.entering_count for router in self._routers)

    @property
    def connection_count(self) -> int:
        """Return the number of connections, including those that have sent nothing yet."""
        return len(self._routers) + len(self._tasks)

    def serve_accepted(self, stream: TcpStream, source: Source) -> None:
        """Serve a connection that was just accepted."""
        self._tasks.start(self._begin(stream, source))

    def drain(self, timeout_s: float | None) -> None:
        """Accept nothing new. Open sessions may last another `timeout_s` seconds, or forever if None."""
        self._draining.set()
        within_s = "" if timeout_s is None else f" within {timeout_s:g} s"
        for router in tuple(self._routers):
            router.drain(f"the gateway is stopping: finish{within_s}")

    async def close(self) -> None:
        """Hang up on the remaining connections, and wait until they are closed."""
        if self._reviewing is not None:
            self._reviewing.cancel()
        self._tasks.cancel(STOPPED)
        await self._tasks.wait()
        for router in tuple(self._routers):
            router.connection.hang_up(STOPPING)
        closings = [router.connection.wait_closed() for router in tuple(self._routers)]
        await asyncio.gather(*closings, return_exceptions=True)

    async def _begin(self, stream: TcpStream, source: Source) -> None:
        handed_over = False
        try:
            rules = self._settings.rules
            arrival = await self._read_header(stream, source)
            if arrival is None:
                return
            if isinstance(arrival, Denial):
                self._context.record_denial(arrival, source)
                return
            source = arrival.source
            if (denial := rules.check_source(source)) is not None:
                # Send other networks nothing, not even our version.
                self._context.record_denial(denial, source)
                return
            wait_s = self._handshakes.take(find_source_network(source.address), time.monotonic())
            if wait_s is None:
                self._context.record_denial(_TOO_FAST, source)
                return
            connection = ClientConnection(
                self._current_options(), self._buffer, partial(ChannelRouter, self._context, source)
            )
            router = connection.router
            self._add(router)
            if self._reviewing is None:
                self._reviewing = asyncio.create_task(self._review())
            if wait_s:
                await self._wait(router, wait_s)
            handed_over = True
            try:
                await aio.hand_over(stream, connection, arrival.received)
            except OSError:
                self._remove(router)  # asyncssh has not started, so it will not report the end
                raise
            if self._draining.is_set():
                connection.hang_up(CONNECT_AGAIN)
        except OSError:
            return  # the client has hung up
        finally:
            if not handed_over:
                stream.abort()

    async def _read_header(self, stream: TcpStream, peer: Source) -> Arrival | Denial | None:
        """Read the PROXY header within the time limit. See `accept.read_proxy_header`."""
        limit_s = self._settings.client_limits.header_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await read_proxy_header(stream, peer, self._settings.rules)
        except TimeoutError:
            what = f"the PROXY header was not complete after {limit_s:g} s"
            return Denial(Reason.HEADER_TIMEOUT, what)

    async def _wait(self, router: ChannelRouter, wait_s: float) -> None:
        """Wait for the connection's turn, or until the drain, which refuses it without a key exchange."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._draining.wait()
        except asyncio.CancelledError:
            self._remove(router)  # asyncssh has not started, so it will not report the end
            raise

    def _add(self, router: ChannelRouter) -> None:
        self._routers.add(router)
        victim = self._startups.enter(router.connection, find_source_network(router.source.address))
        if victim is None:
            return
        victim.abort()
        denial = Denial(
            Reason.OVERLOADED,
            f"{len(self._startups)} connections had not logged in yet, and this was one of them",
        )
        self._context.record_denial(denial, victim.router.source)

    def _current_options(self) -> asyncssh.SSHServerConnectionOptions:
        if time.monotonic() - self._options_at > RENEW_S:
            self._options_at = time.monotonic()
            try:
                self._options = make_server_options(self._host_key(), self._settings)
            except Exception as error:  # the certificate is valid until long after the next attempt
                self._report_fault(error)
        return self._options

    async def _review(self) -> None:
        while True:
            await asyncio.sleep(REVIEW_EVERY_S)
            for router in tuple(self._routers):
                try:
                    router.review()
                except Exception as error:  # the others must still be reviewed
                    self._report_fault(error)

    def _remove(self, router: ChannelRouter) -> None:
        self._startups.remove(router.connection)
        self._routers.discard(router)

    def _report_fault(self, error: BaseException) -> None:
        with suppress(RuntimeError):
            report_fault(FAULT, error)
