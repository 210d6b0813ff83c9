"""The WebShell's listening sockets: uvicorn answers them, on the worker's event loop."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import uvicorn

from stagedoor.listeners.web.app import House
from stagedoor.listeners.web.http import PatientHttp
from stagedoor.net.listen import Socket
from stagedoor.net.tls import ServerTls
from stagedoor.wire.terminal import MAX_FRAME_BYTES

GOODBYE_S = 3
"""After the last visit was told to go, what still hangs on a socket has so long."""
BACKLOG = 512


class _Server(uvicorn.Server):
    """uvicorn on our sockets, with our patience, and without its own signals: the worker says when to
    stop."""

    def __init__(self, config: uvicorn.Config, house: House) -> None:
        super().__init__(config)
        self._house = house

    async def startup(self, sockets: list[Socket] | None = None) -> None:
        protocol = partial(
            PatientHttp,
            self._house.anteroom,
            self._house.write_down,
            config=self.config,
            server_state=self.server_state,
            app_state={},
        )
        secure = self.config.ssl
        patience_s = self._house.anteroom.patience_s if secure else None
        self.servers = [
            await asyncio.get_running_loop().create_server(
                protocol,
                sock=each,
                ssl=secure,
                ssl_handshake_timeout=patience_s,
                backlog=self.config.backlog,
            )
            for each in sockets or ()
        ]
        self.started = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class WebListener:
    """Serves one `House`. `secure` is TLS for the sockets of that kind, None where there are none."""

    def __init__(self, house: House, secure: ServerTls | None = None) -> None:
        self._house = house
        self._secure = secure
        self._servers: list[tuple[_Server, asyncio.Task[None]]] = []

    def open(self, sockets: list[Socket], *, secure: bool) -> None:
        """Begin to answer on these sockets, on the running event loop."""
        config = uvicorn.Config(
            self._house.app,
            http=PatientHttp,
            ws="websockets-sansio",
            ws_max_size=MAX_FRAME_BYTES,
            # Terminal bytes are small and many, or many and packed; either way it would only cost.
            ws_per_message_deflate=False,
            # For the proxies on the way. Under a flood a PONG waits behind what it is to prove: silence
            # does not mean gone, and a dead peer is found by TCP.
            ws_ping_interval=self._house.ping_s,
            ws_ping_timeout=None,
            lifespan="off",
            interface="asgi3",
            loop="none",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            timeout_graceful_shutdown=GOODBYE_S,
            backlog=BACKLOG,
        )
        config.load()
        if secure:
            config.ssl = self._secure
        server = _Server(config, self._house)
        self._servers.append((server, asyncio.create_task(server.serve(sockets))))

    @property
    def busy(self) -> int:
        """How many visits have not been let in, or shown out, yet; and files on their way."""
        return len(self._house.visits) + self._house.files.busy

    def drain(self) -> None:
        """Let nobody more in; those who are in stay."""
        self._house.draining = True
        for server, _ in self._servers:
            for listening in getattr(server, "servers", ()):  # none before it has begun
                listening.close()
            for connection in list(server.server_state.connections):
                # A browser or proxy would go on asking here, and be refused, instead of the next worker.
                if isinstance(connection, PatientHttp):
                    connection.shutdown()

    async def close(self) -> None:
        """Stop answering; visits that the flow has ended get their last word."""
        for server, _ in self._servers:
            server.should_exit = True
        await asyncio.gather(*(task for _, task in self._servers), return_exceptions=True)
