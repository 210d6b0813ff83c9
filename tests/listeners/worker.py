"""A worker of the gateway in the test's own process: all of it real, sockets and store included."""

import contextlib
import fcntl
import os
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stagedoor.admin import service as admin
from stagedoor.admin.certificates.authorities import ensure_cas
from stagedoor.listeners.limits import LIMITS, ClientLimits
from stagedoor.listeners.tunnel import WrapTls
from stagedoor.model.source import Source
from stagedoor.net.listen import bind
from stagedoor.net.tcp import TcpStream
from stagedoor.serve.compose import WorkerParts
from stagedoor.settings.file import parse_settings
from tests.fixtures.worker import WorkerThread, log_lines
from tests.listeners.wire import Peer, Upstream, bearer, dialled, eventually, head, read_answer

USER = "dev"
OWN_PORT = "OWN_PORT"
"""A placeholder in settings for the port that the worker itself listens on."""


class GatewayWorker(WorkerThread):
    """Serves CONNECT on `port` (and TLS on `tls_port`) from a thread with its own event loop.

    `lines` are its log lines as dictionaries; `token` lets `dev` into every app.
    """

    def __init__(self, folder: Path, settings: str, limits: ClientLimits = LIMITS) -> None:
        self.data_dir = folder / "data"
        text = f'data_dir = "{self.data_dir}"\n{settings}'
        has_tls = "certificate_file" in settings
        self._sockets = []
        self.ports: dict[str, int] = {}
        for kind in ["tunnel"] + ["tunnel-tls"] * has_tls:
            listening = bind("127.0.0.1", 0)
            self.ports[kind] = listening.list_addresses()[0][1]
            self._sockets.append((kind, os.dup(listening.list_descriptors()[0])))
            listening.close_sockets()
        self.settings = parse_settings(text.replace(OWN_PORT, str(self.port)), "test")
        ensure_cas(self.settings)
        self.lines: list[dict[str, Any]] = []
        with admin.open_service(self.data_dir) as service:
            admin.add_user(service, USER)
            admin.add_grant(service, f"user:{USER}", "*")
            self.token = admin.create_token(service, USER).text
        self._accepted: dict[int, TcpStream] = {}
        ports = frozenset(self.ports.values())
        super().__init__(self.settings, self._sockets, ports, limits, self._record)

    @property
    def gateway(self) -> WorkerParts:
        return self.parts

    @property
    def port(self) -> int:
        return self.ports["tunnel"]

    @property
    def tls_port(self) -> int:
        return self.ports["tunnel-tls"]

    @property
    def auth(self) -> str:
        """The header that lets `dev` in."""
        return bearer(self.token)

    def _record(self, gateway: WorkerParts) -> None:
        """Record each connection that the listener gets."""
        accepted = gateway.tunnel_listener.serve_accepted

        def keep(stream: TcpStream, source: Source, wrap_tls: WrapTls | None = None) -> None:
            self._accepted[source.port] = stream
            accepted(stream, source, wrap_tls)

        gateway.tunnel_listener.serve_accepted = keep  # type: ignore[method-assign]  # it only records

    def sessions(self) -> int:
        return len(self.gateway.registry)

    def empty(self) -> None:
        """Wait until no session is open, and no connection is being answered."""
        eventually(
            "everybody has left",
            lambda: not self.sessions() and not self.gateway.tunnel_listener.unanswered_count,
        )

    def wait_until_read(self, peer: Peer) -> None:
        """Wait until the gateway has read all that `peer` sent, so that more comes by another read."""
        port = peer.sock.getsockname()[1]

        def read() -> bool:
            stream = self._accepted.get(port)
            if stream is None:
                return False
            try:
                waiting = fcntl.ioctl(stream.fileno(), termios.FIONREAD, bytes(4))
            except (OSError, ValueError):  # it is closed
                return True
            return not any(waiting)

        eventually("all is read", read)

    def line(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first log line that fits, once it is there."""
        eventually("a log line", lambda: any(fits(line) for line in tuple(self.lines)))
        return next(line for line in self.lines if fits(line))


@contextlib.contextmanager
def entered(
    worker: GatewayWorker, upstream: Upstream, app: str = "app01"
) -> Iterator[tuple[Peer, Peer]]:
    """Open a session, and yield the developer's end and the shell's."""
    with dialled(worker.port) as downstream:
        downstream.send(head(f"{app}-ssh:22", worker.auth))
        assert read_answer(downstream).status == 200
        with contextlib.closing(upstream.accept()) as far:
            yield downstream, far


@contextlib.contextmanager
def open_worker(
    folder: Path, settings: str, limits: ClientLimits = LIMITS
) -> Iterator[GatewayWorker]:
    worker = GatewayWorker(folder, settings, limits)
    with log_lines(worker.lines.append):
        try:
            worker.start()
            yield worker
        finally:
            worker.stop()
