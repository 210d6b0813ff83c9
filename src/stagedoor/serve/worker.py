"""The worker process, `python -m stagedoor.serve.worker`, which only the supervisor starts."""

import asyncio
import gc
import os
import select
import signal
import sys
from contextlib import suppress

import anyio
import anyio.abc
import structlog

from stagedoor.model.errors import StagedoorError, StoreError
from stagedoor.model.session import STOPPED, STOPPING, EndReason
from stagedoor.serve import log
from stagedoor.serve.compose import WorkerParts
from stagedoor.serve.metrics.definitions import LAG
from stagedoor.serve.metrics.tally import list_messages
from stagedoor.serve.parts.certificates import SupervisorCertificates
from stagedoor.serve.parts.listening import ListeningSockets
from stagedoor.serve.process import run_process
from stagedoor.serve.supervisor.control import (
    MAX_LINE_BYTES,
    VERSION,
    Close,
    Drain,
    DrainReport,
    Failed,
    FromWorker,
    Signed,
    StartMessage,
    Up,
    encode_line,
    read_to_worker,
)
from stagedoor.serve.supervisor.fleet import RETIRE_S
from stagedoor.settings.file import parse_settings
from stagedoor.settings.settings import Settings

TICK_S = 1.0
COUNTS_EVERY_S = 2.0
RIGHTS_EVERY_S = 20.0
"""Seconds between reviews of open sessions by the cluster, so that it ends one within half a minute."""
END_WITHIN_S = 5.0
"""How long sessions may take to close once they were asked to."""
GC_OBJECTS = 10_000
"""New objects until the garbage collector looks for cycles. A login makes a hundred, hardly one in a cycle,
and with Python's own 700 the search takes 3 % of a login's time."""


class Worker:
    """A worker, from the supervisor's first message to the end of its last session."""

    def __init__(self, begin: StartMessage) -> None:
        self._settings: Settings = parse_settings(begin.settings, begin.settings_name)
        log.configure(self._settings.log)
        self._log = structlog.get_logger()
        self._sockets = ListeningSockets(begin.sockets, self._settings)
        self._certificates = SupervisorCertificates(send)
        self._gateway = WorkerParts(
            self._settings,
            begin.instance,
            frozenset(begin.own_ports),
            self._sockets,
            self._certificates,
        )
        _load_lazy_modules()
        gc.collect()
        gc.freeze()  # all that is made so far lives as long as the worker
        gc.set_threshold(GC_OBJECTS)
        self._news = asyncio.Event()
        self._drain_order: Drain | None = None
        self._drain_since = 0.0
        self._must_close = False
        self._is_orphaned = False

    async def run(self, messages: asyncio.StreamReader) -> int:
        """Serve until the supervisor stops it, and return how many audit events are unwritten at the end."""
        loop = asyncio.get_running_loop()
        # A service manager may signal every process, but the supervisor decides how workers stop.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)
        loop.add_signal_handler(signal.SIGTERM, self._on_term)
        loop.set_exception_handler(self._on_fault)
        tasks = [
            asyncio.create_task(work)
            for work in (
                self._listen_to(messages),
                self._tick(),
                self._review_rights(),
                self._gateway.ask_providers(),
                self._gateway.run_watch.run(),
            )
        ]
        self._sockets.open(self._gateway.tunnel_listener, self._gateway.ssh, self._gateway.web)
        if self._gateway.tunnel_listener.adopter is not None:
            self._gateway.tunnel_listener.adopter.start()
        send(Up())
        try:
            while self._drain_order is None and not self._must_close:
                await self._wait()
            await self._end_sessions()
        finally:
            for task in tasks:
                task.cancel()
            await self._gateway.shells.stop_watching()
            await _cancel_the_rest()
            unwritten = await asyncio.to_thread(self._gateway.close_parts)
            self._measure()
        if unwritten:
            self._log.error(
                "audit events could not be written; the next start closes their sessions",
                events=unwritten,
            )
        return unwritten

    async def _end_sessions(self) -> None:
        """Accept no more, wait until the sessions have ended, and close those that are left."""
        gateway = self._gateway
        self._sockets.stop_accepting()
        if gateway.tunnel_listener.adopter is not None:
            gateway.tunnel_listener.adopter.stop()
        send(DrainReport(self._open_count()))
        if gateway.web is not None:
            gateway.web.drain()
        await self._wait_until_drained()
        await gateway.tunnel_listener.drop_unanswered()
        await self._close_all()
        for listener in (gateway.ssh, gateway.web):
            if listener is not None:
                await listener.close()

    async def _wait_until_drained(self) -> None:
        """Wait until no session is left, the drain times out, or the supervisor wants to close at once."""
        loop, ssh = asyncio.get_running_loop(), self._gateway.ssh
        drain: Drain | None = None
        while not self._must_close:
            assert self._drain_order is not None, "only a drain leads here without a close"
            if drain is not self._drain_order:
                drain = self._drain_order
                if ssh is not None and not drain.keeps_connections:
                    ssh.drain(drain.timeout_s)
            left = self._open_count()
            if drain.keeps_connections and not left and ssh is not None:
                left = ssh.connection_count  # each may open a session, so none is lost
            timeout_s = drain.timeout_s
            if not left or (timeout_s is not None and loop.time() - self._drain_since >= timeout_s):
                break
            send(DrainReport(left))
            await self._wait(TICK_S)

    def _open_count(self) -> int:
        gateway = self._gateway
        unanswered = gateway.tunnel_listener.unanswered_count
        if gateway.ssh is not None:
            unanswered += gateway.ssh.unanswered_count
        return len(gateway.registry) + unanswered

    async def _close_all(self) -> None:
        self._gateway.registry.end_all(EndReason.DRAINED, STOPPING)
        with suppress(TimeoutError):
            async with asyncio.timeout(END_WITHIN_S):
                # The relay's thread empties the registry, and cannot set an event of this loop.
                while len(self._gateway.registry):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        send(DrainReport(len(self._gateway.registry)))

    async def _wait(self, timeout_s: float | None = None) -> None:
        """Wait for news from the supervisor or a signal, or until the timeout."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        self._news.clear()

    async def _listen_to(self, messages: asyncio.StreamReader) -> None:
        async for text in messages:
            match read_to_worker(text):
                case Drain() as drain:
                    self._begin_drain(drain)
                case Close():
                    self._must_close = True
                    self._news.set()
                case Signed() as signed:
                    self._certificates.resolve(signed)
                case StartMessage():
                    self._log.error("the supervisor sent Start twice")
        self._is_orphaned = True
        self._certificates.fail_all()
        self._log.error("the supervisor is gone; draining")
        self._on_term()

    def _on_term(self) -> None:
        """Drain, and at the second signal close. Ignored while there is a supervisor."""
        if not self._is_orphaned:
            return
        timeout_s = self._settings.workers.drain_timeout_s
        if self._drain_order is None or (self._drain_order.timeout_s or RETIRE_S) > timeout_s:
            self._begin_drain(Drain(timeout_s))
        else:
            self._must_close = True
            self._news.set()

    def _begin_drain(self, drain: Drain) -> None:
        self._drain_order = drain
        self._drain_since = asyncio.get_running_loop().time()
        self._news.set()

    async def _tick(self) -> None:
        """Do the periodic work: expire grants, renew keys, write byte counts for `session list`."""
        loop = asyncio.get_running_loop()
        counted_at = loop.time()
        while True:
            due_at = loop.time() + TICK_S
            await asyncio.sleep(TICK_S)
            late_s = loop.time() - due_at
            if not self._gateway.relay.is_alive:
                self._log.critical("the relay is dead: this worker ends, to be replaced")
                self._must_close = True
                self._news.set()
                return
            try:
                self._gateway.tally.observe(LAG, late_s)
                self._gateway.registry.expire()
                if self._gateway.tunnel_listener.adopter is not None:
                    await self._gateway.tunnel_listener.adopter.connect_endpoints()
                with suppress(OSError):  # the gateway logs it, and the next tick tries again
                    await asyncio.to_thread(self._gateway.renew_keys)
                with suppress(StoreError):  # then the ledger refuses logins
                    await asyncio.to_thread(self._gateway.check_deliveries)
                if loop.time() - counted_at >= COUNTS_EVERY_S:
                    counted_at = loop.time()
                    # The ledger reports a store that cannot be written; counts can wait.
                    with suppress(StoreError):
                        await asyncio.to_thread(self._gateway.write_counts)
                self._measure()
            except Exception as error:  # grants must continue to expire, whatever fails in one tick
                self._on_fault(loop, {"message": "a tick failed", "exception": error})

    def _measure(self) -> None:
        """Send the counts and gauges to the supervisor, if metrics are served."""
        if self._settings.health.address is None:
            return
        tally, now = self._gateway.tally, self._gateway.read_gauges()
        for message in list_messages(tally.take(), now):
            if can_send():
                send(message)
            else:
                tally.put_back(message.added)

    async def _review_rights(self) -> None:
        """Review open sessions by the cluster's own rules, again and again.

        This runs in its own task, since the cluster may be slow to answer.
        """
        while True:
            await asyncio.sleep(RIGHTS_EVERY_S)
            try:
                await self._gateway.review_rights()
            except Exception as error:  # the next review catches what this one missed
                self._on_fault(
                    asyncio.get_running_loop(), {"message": "a review failed", "exception": error}
                )

    def _on_fault(self, _: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        self._log.error(str(context.get("message")), exc_info=context.get("exception"))


def _load_lazy_modules() -> None:
    """Import what anyio would import with the first session.

    By then the program on the disk may have been replaced, and a worker lives on for days after an upgrade.
    """
    for module in (anyio, anyio.abc):
        for name in dir(module):
            getattr(module, name)
    anyio.CancelScope()  # loads the part for asyncio


async def _cancel_the_rest() -> None:
    """Cancel the logins that are still in progress, while the ledger can still audit their end."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel(STOPPED)
    if rest:
        await asyncio.wait(rest, timeout=END_WITHIN_S)


def send(message: FromWorker) -> None:
    """Send a message to the supervisor. It is lost if the supervisor is gone."""
    # Unbuffered, so that no write is left to fail at exit. A line fits into a pipe whole, pipe(7).
    with suppress(OSError):
        os.write(sys.stdout.fileno(), encode_line(message))


def can_send() -> bool:
    """Return whether a message can be sent without blocking, so that a hung supervisor holds up no worker.

    A writable pipe takes PIPE_BUF bytes at once (pipe(7)), and no line is longer.
    """
    _, writable, _ = select.select([], [sys.stdout.fileno()], [], 0)
    return bool(writable)


async def _main() -> int:
    reader = asyncio.StreamReader(MAX_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    first = await reader.readline()
    if not first:
        return 0  # the supervisor ended while this worker started
    begin = read_to_worker(first)
    if not isinstance(begin, StartMessage):
        raise StagedoorError("the supervisor's first message is not the start message")
    if begin.version != VERSION:
        raise StagedoorError(
            "the program was replaced while the gateway runs; `stagedoor upgrade` hands over to the new one"
        )
    return await Worker(begin).run(reader)


def main() -> None:
    """Run a worker. Exit with 0 if the end of every session is in the audit, with 1 otherwise."""
    try:
        sys.exit(1 if run_process(_main()) else 0)
    except (StagedoorError, OSError) as error:
        send(Failed(str(error)))
        sys.exit(error.exit_code if isinstance(error, StagedoorError) else 1)
    except Exception as error:  # a bug in Stagedoor: its traceback goes into the log
        structlog.get_logger().error("worker failed", exc_info=error)
        send(Failed(f"a fault in a worker: {type(error).__name__}: {error}"))
        sys.exit(1)


if __name__ == "__main__":
    main()
