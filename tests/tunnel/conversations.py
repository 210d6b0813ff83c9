"""The conversations of one end of a tunnel with its peer; `python -m tests.tunnel.conversations` writes them.

A conversation is a list of steps, each at a time in milliseconds (`at`), which both implementations replay:
`connect`, `cut`, `take` (from the local side; `take_end` its end), `in` (from the peer; with `fault` it must
be refused), `out` (all that is written to the peer now; with `limit` no more than so many bytes), `deliver`
(what the local side gets; `deliver_end` its end), `end`, and `is` (parts of the state at that time).

Bytes are written as in `tests.wire.conversation.runs`.
"""

import json
from pathlib import Path
from typing import Any

from stagedoor.wire.tunnel.frames import (
    ACK,
    DATA,
    END,
    FIN,
    HELLO,
    MAX_DATA_BYTES,
    MAX_NUMBER,
    OPEN,
    PING,
    PONG,
    encode,
)
from stagedoor.wire.tunnel.stream import ACK_BYTES, WINDOW
from tests.wire.conversation import runs

FILE = Path(__file__).parents[1] / "wire/tunnels.json"
Step = dict[str, Any]


class Conversation:
    """A conversation in the making."""

    def __init__(self, name: str, *, watches: bool = False) -> None:
        self.name = name
        self.watches = watches
        self.steps: list[Step] = []
        self.now = 0

    def _step(self, **step: Any) -> None:
        self.steps.append({"at": self.now, **step})

    def connect(self, received: int = 0) -> None:
        """Connect, and write HELLO."""
        self._step(do="connect")
        self.out(encode(HELLO, received, b"\x01"))

    def greeted(self, received: int = 0, theirs: int = 0) -> None:
        """Connect, and exchange HELLOs: this end has received `received` units, and the peer `theirs`."""
        self.connect(received)
        self.hears(encode(HELLO, theirs, b"\x01"))

    def cut(self) -> None:
        self._step(do="cut")

    def take(self, data: bytes) -> None:
        self._step(take=runs(data))

    def take_end(self) -> None:
        self._step(do="take_end")

    def hears(self, data: bytes) -> None:
        self._step(**{"in": runs(data)})

    def refuses(self, data: bytes) -> None:
        self._step(**{"in": runs(data), "fault": True})

    def out(self, *frames: bytes) -> None:
        self._step(out=runs(b"".join(frames)))

    def out_part(self, data: bytes) -> None:
        self._step(out=runs(data), limit=len(data))

    def deliver(self, data: bytes) -> None:
        self._step(deliver=runs(data))

    def deliver_end(self) -> None:
        self._step(do="deliver_end")

    def end(self, code: int, why: str = "") -> None:
        self._step(end=[code, why])

    def later(self, ms: int) -> None:
        self.now += ms

    def is_(self, **state: Any) -> None:
        self._step(**{"is": state})


def data(at: int, body: bytes) -> bytes:
    return b"".join(
        encode(DATA, at + start, body[start : start + MAX_DATA_BYTES])
        for start in range(0, len(body), MAX_DATA_BYTES)
    )


def ordinary() -> list[Conversation]:
    both = Conversation("bytes go both ways, and ACKs go with them")
    both.greeted()
    both.take(b"SSH-2.0-here\r\n")
    both.out(data(0, b"SSH-2.0-here\r\n"))
    both.hears(data(0, b"SSH-2.0-there\r\n"))
    both.deliver(b"SSH-2.0-there\r\n")
    both.is_(wake_at=500, unacknowledged=14)
    both.out(b"")
    both.take(b"more")
    both.out(encode(ACK, 15), data(14, b"more"))
    both.hears(encode(ACK, 14))
    both.is_(unacknowledged=4, wake_at=None)

    late = Conversation("an ACK without DATA waits for half a second")
    late.greeted()
    late.hears(data(0, b"x"))
    late.out(b"")
    late.deliver(b"x")
    late.later(499)
    late.out(b"")
    late.later(1)
    late.out(encode(ACK, 1))
    late.is_(wake_at=None)

    much = Conversation("256 KiB are acknowledged at once")
    much.greeted()
    much.hears(data(0, b"x" * (ACK_BYTES - 1)))
    much.deliver(b"x" * (ACK_BYTES - 1))
    much.out(b"")
    much.hears(data(ACK_BYTES - 1, b"y"))
    much.deliver(b"y")
    much.out(encode(ACK, ACK_BYTES))

    partly = Conversation("output is written as the connection takes it")
    partly.greeted()
    partly.take(b"a" * 70000)
    partly.out_part(encode(DATA, 0, b"a" * 65536)[:1000])
    partly.out_part(encode(DATA, 0, b"a" * 65536)[1000:])
    partly.out(encode(DATA, 65536, b"a" * 4464))

    pieces = Conversation("frames arrive in pieces")
    pieces.connect()
    for byte in encode(HELLO, 0, b"\x01") + data(0, b"abc") + encode(FIN, 3):
        pieces.hears(bytes([byte]))
    pieces.deliver(b"abc")
    pieces.is_(end_is_deliverable=True)

    later = Conversation("a HELLO of a later version is longer")
    later.connect()
    later.hears(encode(HELLO, 0, b"\x02and what that version adds"))
    later.is_(is_greeted=True)
    return [both, late, much, partly, pieces, later]


def cuts() -> list[Conversation]:
    lost = Conversation("what was lost on the way is sent again")
    lost.greeted()
    lost.take(b"abcdef")
    lost.out(data(0, b"abcdef"))
    lost.cut()
    lost.is_(unacknowledged=6)
    lost.greeted(theirs=2)
    lost.out(data(2, b"cdef"))
    lost.hears(encode(ACK, 6))
    lost.is_(unacknowledged=0)

    half = Conversation("of half a frame the half is kept")
    half.greeted()
    half.hears(data(0, b"abcdef")[:-2])
    half.cut()
    half.deliver(b"abcd")
    half.greeted(received=4)
    half.out(encode(ACK, 4))
    half.hears(data(4, b"ef"))
    half.deliver(b"ef")

    head = Conversation("half a head is forgotten")
    head.greeted()
    head.hears(data(0, b"abcdef")[:7])
    head.cut()
    head.greeted()
    head.hears(data(0, b"abcdef"))
    head.deliver(b"abcdef")

    written = Conversation("what was written in part begins again")
    written.greeted()
    written.take(b"abcdef")
    written.out_part(data(0, b"abcdef")[:15])
    written.cut()
    written.greeted(theirs=2)
    written.out(data(2, b"cdef"))

    ack = Conversation("an ACK that was lost is sent again, and no byte comes twice")
    ack.greeted()
    ack.hears(data(0, b"abc"))
    ack.deliver(b"abc")
    ack.later(500)
    ack.out(encode(ACK, 3))
    ack.cut()
    ack.greeted(received=3)
    ack.out(encode(ACK, 3))
    ack.deliver(b"")

    away = Conversation("while away, both sides go on up to the window")
    away.greeted()
    away.hears(data(0, b"z" * 100))
    away.cut()
    away.take(b"w" * WINDOW)
    away.is_(room=0, wake_at=None)
    away.deliver(b"z" * 100)
    away.greeted(received=100)
    away.out(encode(ACK, 100), data(0, b"w" * WINDOW))
    away.hears(encode(ACK, WINDOW))
    away.is_(room=WINDOW, unacknowledged=0)

    again = Conversation("a connection that ends before HELLO changes nothing")
    again.take(b"early")
    again.connect()
    again.out(b"")
    again.cut()
    again.greeted()
    again.out(data(0, b"early"))
    return [lost, half, head, written, ack, away, again]


def ends() -> list[Conversation]:
    fin = Conversation("each direction ends by itself")
    fin.greeted()
    fin.take(b"last")
    fin.take_end()
    fin.is_(room=0)
    fin.out(data(0, b"last"), encode(FIN, 4))
    fin.hears(encode(ACK, 5))
    fin.is_(is_finished=False, unacknowledged=0)
    fin.hears(data(0, b"bye") + encode(FIN, 3))
    fin.is_(end_is_deliverable=False)
    fin.deliver(b"bye")
    fin.is_(end_is_deliverable=True, is_finished=False)
    fin.deliver_end()
    fin.is_(end_is_deliverable=False, is_finished=True)
    fin.out(encode(ACK, 4))

    lost = Conversation("a FIN that was lost is sent again")
    lost.greeted()
    lost.take(b"x")
    lost.take_end()
    lost.out(data(0, b"x"), encode(FIN, 1))
    lost.cut()
    lost.greeted(theirs=1)
    lost.out(encode(FIN, 1))
    lost.cut()
    lost.greeted(theirs=2)
    lost.out(b"")
    lost.hears(encode(ACK, 2))
    lost.is_(unacknowledged=0)

    own = Conversation("nothing follows an END")
    own.greeted()
    own.take(b"x")
    own.hears(encode(PING, 1))
    own.end(3, "your grant was removed")
    own.out(encode(END, 3, b"your grant was removed"))
    own.is_(has_sent_end=True)
    own.out(b"")
    own.cut()
    own.is_(has_sent_end=False)
    return [fin, lost, own, *theirs()]


def theirs() -> list[Conversation]:
    end = Conversation("the peer's END is the last frame that is read")
    end.greeted()
    end.hears(encode(END, 3, "für immer".encode()) + b"\xff" * 40)
    end.is_(ended=[3, "für immer"])
    early = Conversation("an END may be the first frame")
    early.connect()
    early.hears(encode(END, 0, b""))
    early.is_(ended=[0, ""])
    again = Conversation("an END is repeated after a cut, with HELLO")
    again.end(1, "gone")
    again._step(do="connect")
    again.out(encode(HELLO, 0, b"\x01"), encode(END, 1, b"gone"))
    again.cut()
    again._step(do="connect")
    again.out(encode(HELLO, 0, b"\x01"), encode(END, 1, b"gone"))
    return [end, early, again]


def liveness() -> list[Conversation]:
    answer = Conversation("a PING is answered, the last one if several came")
    answer.greeted()
    answer.hears(encode(PING, 7))
    answer.hears(encode(PING, 8))
    answer.out(encode(PONG, 8))
    answer.out(b"")

    stopped = Conversation("a PING is answered while the local side takes nothing")
    stopped.greeted()
    stopped.hears(data(0, b"s" * WINDOW) + encode(PING, 9))
    stopped.out(encode(PONG, 9))

    idle = Conversation(
        "an idle connection is probed after 15 s, and dead 10 s later", watches=True
    )
    idle.greeted()
    idle.is_(wake_at=15000, is_dead=False)
    idle.later(14999)
    idle.out(b"")
    idle.later(1)
    idle.out(encode(PING, 0))
    idle.is_(wake_at=25000)
    idle.later(9999)
    idle.out(b"")
    idle.is_(is_dead=False)
    idle.later(1)
    idle.is_(is_dead=True)

    alive = Conversation("a PONG is a sign of life", watches=True)
    alive.greeted()
    alive.later(15000)
    alive.out(encode(PING, 0))
    alive.later(9000)
    alive.hears(encode(PONG, 0))
    alive.is_(wake_at=24000 + 15000, is_dead=False)

    busy = Conversation(
        "a connection that owes an ACK is probed after 5 s, and dead after 10 s", watches=True
    )
    busy.greeted()
    busy.later(12000)
    busy.take(b"x")
    busy.out(data(0, b"x"))
    busy.is_(wake_at=17000)
    busy.later(5000)
    busy.out(encode(PING, 0))
    busy.later(4999)
    busy.is_(is_dead=False)
    busy.later(1)
    busy.is_(is_dead=True)

    slow = Conversation("a peer whose local side is slow is not dead", watches=True)
    slow.greeted()
    slow.take(b"x")
    slow.out(data(0, b"x"))
    for _ in range(3):
        slow.later(5000)
        slow.out(encode(PING, 0))
        slow.later(100)
        slow.hears(encode(PONG, 0))
        slow.is_(is_dead=False)
    slow.hears(encode(ACK, 1))
    slow.is_(wake_at=15300 + 15000)

    silent = Conversation("a connection without a HELLO is dead after 10 s", watches=True)
    silent.connect()
    silent.is_(wake_at=10000)
    silent.later(10000)
    silent.is_(is_dead=True)
    silent.cut()
    silent.is_(is_dead=False, wake_at=None)
    return [answer, stopped, idle, alive, busy, slow, silent]


def faults() -> list[Conversation]:
    made = []

    def refused(name: str, frame: bytes, *, greeted: bool = True) -> None:
        fault = Conversation(f"refused: {name}")
        if greeted:
            fault.greeted()
            fault.take(b"sent")
            fault.out(data(0, b"sent"))
            fault.hears(data(0, b"abc") + encode(ACK, 2))
        else:
            fault.connect()
        fault.refuses(frame)
        made.append(fault)

    refused("an unknown frame", b"\x09" + bytes(12))
    refused("a number beyond the last", encode(ACK, MAX_NUMBER + 1))
    refused("DATA without a byte", encode(DATA, 3))
    refused("DATA that is too long", encode(DATA, 3, bytes(MAX_DATA_BYTES + 1))[:13])
    refused("a length of gigabytes", b"\x02" + bytes(8) + b"\xff\xff\xff\xff")
    refused("a FIN with a body", encode(FIN, 3, b"x"))
    refused("an END with a long text", encode(END, 3, bytes(501))[:13])
    refused("a HELLO without a version", encode(HELLO, 0), greeted=False)
    refused("DATA before HELLO", data(0, b"x"), greeted=False)
    refused("an ACK before HELLO", encode(ACK, 0), greeted=False)
    refused("a HELLO that asks for what was never sent", encode(HELLO, 1, b"\x01"), greeted=False)
    refused("a second HELLO", encode(HELLO, 0, b"\x01"))
    refused("a ticket in the stream", encode(OPEN, 1, bytes(32)))
    refused("DATA that leaves something out", data(4, b"x"))
    refused("DATA that comes twice", data(2, b"cd"))
    refused("a FIN that leaves something out", encode(FIN, 4))
    refused("an ACK of what was not sent", encode(ACK, 5))
    refused("an ACK that goes back", encode(ACK, 1))

    after = Conversation("refused: DATA after FIN")
    after.greeted()
    after.hears(encode(FIN, 0))
    after.refuses(data(1, b"x"))
    back = Conversation("refused: a HELLO that asks for what was acknowledged")
    back.greeted()
    back.take(b"abcd")
    back.out(data(0, b"abcd"))
    back.hears(encode(ACK, 3))
    back.cut()
    back.connect()
    back.refuses(encode(HELLO, 2, b"\x01"))
    flood = Conversation("refused: more than the window without an ACK")
    flood.greeted()
    flood.hears(data(0, b"f" * WINDOW))
    flood.refuses(data(WINDOW, b"f"))
    return [*made, after, back, flood]


def conversations() -> list[Conversation]:
    return [*ordinary(), *cuts(), *ends(), *liveness(), *faults()]


def text() -> str:
    """Return the file: one step a line."""
    rows = []
    for conversation in conversations():
        steps = ",\n".join(
            "   " + json.dumps(step, ensure_ascii=False) for step in conversation.steps
        )
        head = f'"name": {json.dumps(conversation.name)}, "watches": {json.dumps(conversation.watches)}'
        rows.append(f' {{{head},\n  "steps": [\n{steps}\n  ]}}')
    return "[\n" + ",\n".join(rows) + "\n]\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
