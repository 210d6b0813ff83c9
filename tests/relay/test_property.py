"""Any interleaving of writes, half-closes, resets and closes, against a model.

What arrives is a prefix of what was sent, in order; it is all of it when the end was orderly.
"""

import contextlib
import random
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stagedoor.model.session import EndReason
from stagedoor.relay.limits import RelayLimits
from stagedoor.relay.ports import Stream
from tests.net.peers import PATIENCE_S, Peer
from tests.relay.harness import RelayHarness

BYTES = random.Random(7).randbytes(1 << 20)

SIDES = st.sampled_from(["downstream", "upstream"])
ACTIONS = st.one_of(
    st.tuples(st.just("send"), SIDES, st.sampled_from([1, 7, 4096, 16384, 16385, 70000, 150000])),
    st.tuples(st.just("half_close"), SIDES, st.just(0)),
    st.tuples(st.just("reset"), SIDES, st.just(0)),
    st.tuples(st.just("close"), SIDES, st.just(0)),
)


@dataclass
class Played:
    """One peer, with what it sent and received."""

    reader: threading.Thread = field(init=False)
    peer: Peer
    sent: int = 0
    open: bool = True
    got: bytes = b""
    ended: bool = False

    def read(self) -> None:
        got = bytearray()
        try:
            while data := self.peer.read():
                got += data
            self.ended = True
        except OSError:
            pass  # a reset, or TLS cut short
        self.got = bytes(got)


@given(
    actions=st.lists(ACTIONS, max_size=12),
    early=st.sampled_from([0, 1, 5000, 200_000]),
    narrow=st.booleans(),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_arrives_is_a_prefix_and_whole_when_the_end_was_orderly(
    kind: str,
    certificate: tuple[Path, Path],
    actions: list[tuple[str, str, int]],
    early: int,
    narrow: bool,
) -> None:
    def prepare(peer: Peer, stream: Stream) -> None:
        if narrow:  # the sinks block often
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            ours = socket.socket(fileno=stream.fileno())
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            ours.detach()

    with contextlib.closing(
        RelayHarness(kind, certificate, RelayLimits(pipes=1, turn_bytes=65536))
    ) as harness:
        run = harness.open(BYTES[:early], prepare=prepare)
        played = {"downstream": Played(run.downstream, early), "upstream": Played(run.upstream)}
        for side in played.values():
            side.reader = threading.Thread(target=side.read)
            side.reader.start()
        orderly = True
        for what, name, size in actions:
            side = played[name]
            match what:
                case "send" if side.open:
                    try:
                        side.peer.send(BYTES[side.sent : side.sent + size])
                        side.sent += size
                    except OSError:
                        assert not orderly, "only a reset or a close may break a send"
                        side.sent += size  # a part may have gone
                        side.open = False
                case "half_close" if side.open:
                    with contextlib.suppress(OSError):
                        side.peer.half_close()
                    side.open = False
                case "reset":
                    # close(2) sends RST once no reader has the socket any more.
                    with contextlib.suppress(OSError):
                        side.peer.sock.shutdown(socket.SHUT_RD)
                    side.reader.join(PATIENCE_S)
                    with contextlib.suppress(OSError):
                        side.peer.reset()
                    side.open = orderly = False
                case "close":
                    run.link.request_end(EndReason.EVICTED)
                    orderly = False
        for side in played.values():
            if side.open:
                with contextlib.suppress(OSError):
                    side.peer.half_close()
        ended = run.ended()
        for side in played.values():
            side.reader.join(PATIENCE_S)
            assert not side.reader.is_alive()
        down, up = played["downstream"], played["upstream"]
        assert BYTES.startswith(up.got[:early])
        assert up.got == BYTES[: len(up.got)]
        assert len(up.got) <= down.sent
        assert down.got == BYTES[: len(down.got)]
        assert len(down.got) <= up.sent
        if orderly:
            assert ended.end is EndReason.CLOSED
        if ended.end is EndReason.CLOSED:
            assert (ended.counts.sent, ended.counts.received) == (down.sent, up.sent)
        if orderly:
            assert (len(up.got), len(down.got)) == (down.sent, up.sent)
            assert up.ended
            assert down.ended
        assert harness.count_tunnels() == 0
