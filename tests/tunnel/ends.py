"""The two implementations of one end of a tunnel, behind one interface: the client's, and the kit's."""

import subprocess
from pathlib import Path
from typing import NamedTuple, Protocol
from unittest.mock import ANY

from stagedoor.wire.tunnel.frames import StreamError
from stagedoor.wire.tunnel.stream import TunnelStream
from tests.holder.compiled import SOURCE, compiled_of

HERE = Path(__file__).parent


class State(NamedTuple):
    """The state of an end at a moment; `wake_at` is in milliseconds, and `ended` the peer's END.

    The kit's end does not keep what its peer's END says, and never sees a connection as dead.
    """

    room: int
    unacknowledged: int
    is_greeted: bool
    end_is_deliverable: bool
    is_finished: bool
    has_sent_end: bool
    wake_at: int | None
    ended: list[object] | None
    is_dead: bool = False


class End(Protocol):
    """One end. Times are in milliseconds."""

    def new(self, watches: bool) -> None:
        """Begin; with `watches`, which the kit's end cannot, probe the connection."""
        ...

    def connect(self, now: int) -> None: ...

    def cut(self) -> None: ...

    def take(self, data: bytes) -> None: ...

    def take_end(self) -> None: ...

    def receive(self, now: int, data: bytes) -> bool:
        """Return False for a fault."""
        ...

    def output(self, now: int, limit: int) -> bytes:
        """Return up to `limit` bytes of output, which are written thereby."""
        ...

    def deliver(self, now: int, limit: int) -> bytes:
        """Return up to `limit` deliverable bytes, which are delivered thereby."""
        ...

    def deliver_end(self, now: int) -> None: ...

    def end(self, code: int, why: str) -> None: ...

    def state(self, now: int) -> State: ...


class PythonEnd:
    """The end in Python."""

    def __init__(self) -> None:
        self.new(False)

    def new(self, watches: bool) -> None:
        self.stream = TunnelStream(watches)

    def connect(self, now: int) -> None:
        self.stream.connect(now / 1000)

    def cut(self) -> None:
        self.stream.cut()

    def take(self, data: bytes) -> None:
        self.stream.take(data)

    def take_end(self) -> None:
        self.stream.take_end()

    def receive(self, now: int, data: bytes) -> bool:
        try:
            self.stream.receive(data, now / 1000)
        except StreamError:
            return False
        return True

    def output(self, now: int, limit: int) -> bytes:
        data = bytes(self.stream.peek_output(now / 1000)[:limit])
        self.stream.note_sent(len(data))
        return data

    def deliver(self, now: int, limit: int) -> bytes:
        data = b""
        while part := bytes(self.stream.deliverable[: limit - len(data)]):
            self.stream.note_delivered(len(part), now / 1000)
            data += part
        return data

    def deliver_end(self, now: int) -> None:
        self.stream.note_delivered_end(now / 1000)

    def end(self, code: int, why: str) -> None:
        self.stream.end(code, why.encode())

    def state(self, now: int) -> State:
        stream = self.stream
        wake_at = stream.wake_at()
        return State(
            stream.room,
            stream.unacknowledged,
            stream.is_greeted,
            stream.end_is_deliverable,
            stream.is_finished,
            stream.has_sent_end,
            None if wake_at is None else round(wake_at * 1000),
            None if stream.ended is None else list(stream.ended),
            stream.is_dead(now / 1000),
        )


class KitEnd:
    """The end in C, in a process that `driver.c` lets a test drive."""

    def __init__(self, program: Path) -> None:
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1 << 20
        )

    def stop(self) -> None:
        with self.process as process:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(10) == 0

    def _ask(self, word: str, now: int = 0, count: int = 0, data: bytes = b"") -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word} {now} {count} {data.hex()}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the driver has ended"
        return answer.rstrip("\n")

    def new(self, watches: bool) -> None:
        assert not watches
        self._ask("new")

    def connect(self, now: int) -> None:
        self._ask("connect", now)

    def cut(self) -> None:
        self._ask("cut")

    def take(self, data: bytes) -> None:
        self._ask("take", 0, 0, data)

    def take_end(self) -> None:
        self._ask("take_end")

    def receive(self, now: int, data: bytes) -> bool:
        return self._ask("in", now, 0, data) == "ok"

    def output(self, now: int, limit: int) -> bytes:
        return _unhex(self._ask("out", now, limit))

    def deliver(self, now: int, limit: int) -> bytes:
        return _unhex(self._ask("deliver", now, limit))

    def deliver_end(self, now: int) -> None:
        self._ask("deliver_end", now)

    def end(self, code: int, why: str) -> None:
        self._ask("end", 0, code, why.encode())

    def state(self, now: int) -> State:
        words = self._ask("state", now).split()
        room, unacknowledged, greeted, deliverable, finished, sent, wake_at, ended = words
        return State(
            int(room),
            int(unacknowledged),
            greeted == "1",
            deliverable == "1",
            finished == "1",
            sent == "1",
            None if wake_at == "-1" else int(wake_at),
            [ANY, ANY] if ended == "1" else None,
        )


def _unhex(answer: str) -> bytes:
    return b"" if answer == "-" else bytes.fromhex(answer)


SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
"""A finding ends the program."""


def compiled_stream(folder: Path) -> Path:
    """Compile the program that drives one end."""
    sources = (HERE / "driver.c", SOURCE / "tunnel/stream.c")
    return compiled_of(folder / "tunnel", sources, *SANITIZED)


def compiled_endpoint(folder: Path) -> Path:
    """Compile the kit's endpoint, with the parts of the kit that it uses."""
    # All but main.c and passwd.c.
    files = (*SOURCE.glob("[!mp]*.c"), *SOURCE.glob("holder/*.c"), *SOURCE.glob("tunnel/*.c"))
    sources = (HERE / "endpoint.c", *sorted(files))
    return compiled_of(folder / "endpoint", sources, "-Wl,--wrap=now_ms", *SANITIZED)
