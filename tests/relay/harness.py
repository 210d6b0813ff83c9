"""A relay between two real peers, by splice or by the pump."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from stagedoor.model.session import EndReason, SessionResult
from stagedoor.net.tcp import TcpStream
from stagedoor.net.tls import TlsStream, make_client_context, make_server_context
from stagedoor.relay.limits import RelayLimits
from stagedoor.relay.loop import Relay
from stagedoor.relay.ports import Preface, Stream
from stagedoor.relay.tunnel import Tunnel
from tests.net.peers import PATIENCE_S, Peer, TlsPeer, tcp_pair


@dataclass
class Run:
    """One tunnel and all that a test sees of it."""

    downstream: Peer
    upstream: Peer
    ours: tuple[Stream, Stream]
    link: Tunnel
    ends: "queue.Queue[SessionResult]" = field(default_factory=queue.Queue)

    def ended(self) -> SessionResult:
        return self.ends.get(timeout=PATIENCE_S)


class RelayHarness:
    """A relay whose downstream is plain TCP or TLS, by `kind`: splice or tls."""

    def __init__(
        self,
        kind: str,
        certificate: tuple[Path, Path],
        limits: RelayLimits | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.kind = kind
        self._certificate = certificate
        self.relay = Relay(limits, clock=clock or time.monotonic)
        self._peers: list[Peer] = []

    def open(
        self,
        early: bytes = b"",
        on_end: Callable[[SessionResult], None] | None = None,
        prepare: Callable[[Peer, Stream], None] | None = None,
        preface: Preface | None = None,
    ) -> Run:
        """Open a tunnel; `prepare` sees each peer and our stream to it before the relay does."""
        downstream, ours_down = self.downstream()
        socket_up, ours = tcp_pair()
        upstream, ours_up = Peer(socket_up), TcpStream(ours)
        self._peers += [downstream, upstream]
        if prepare is not None:
            prepare(downstream, ours_down)
            prepare(upstream, ours_up)
        ends: queue.Queue[SessionResult] = queue.Queue()

        def record(ended: SessionResult) -> None:
            ends.put(ended)
            if on_end is not None:
                on_end(ended)

        link = self.relay.start(ours_down, ours_up, early, record, preface)
        return Run(downstream, upstream, (ours_down, ours_up), link, ends)

    def count_tunnels(self) -> int:
        return len(self.relay._watched.active)

    def check_idle(self) -> None:
        """Let the relay look for idle tunnels; return when it has."""
        self.relay._ask(self.relay._end_idle)
        # Requests are done in order: when this tunnel has ended, the idle check is over.
        peer_down, down = tcp_pair()
        peer_up, up = tcp_pair()
        ends: queue.Queue[SessionResult] = queue.Queue()
        self.relay.start(TcpStream(down), TcpStream(up), b"", ends.put).request_end(
            EndReason.EVICTED
        )
        ends.get(timeout=PATIENCE_S)
        peer_down.close()
        peer_up.close()

    def downstream(self) -> tuple[Peer, Stream]:
        sock, ours = tcp_pair()
        if self.kind != "tls":
            return Peer(sock), TcpStream(ours)
        peer = TlsPeer(sock, make_client_context(self._certificate[0]))
        stream = TlsStream(TcpStream(ours), make_server_context(*self._certificate), b"")
        shaking = threading.Thread(target=peer.handshake)
        shaking.start()
        asyncio.run(stream.complete_handshake())
        shaking.join(PATIENCE_S)
        return peer, stream

    def close(self) -> None:
        self.relay.stop()
        for peer in self._peers:
            peer.close()
