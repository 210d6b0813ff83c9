"""One who attaches to a real holder, over the pipes of `attach`, as the gateway does."""

import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from stagedoor.holder.folder import FOLDER
from stagedoor.wire.terminal.codec import FrameBuffer, decode, framed
from stagedoor.wire.terminal.frames import (
    FEATURES,
    Ack,
    Detach,
    Exit,
    Frame,
    Gap,
    Hello,
    In,
    InAck,
    Mode,
    Notice,
    Out,
    People,
    Ping,
    Pong,
    Size,
    Snapshot,
    Welcome,
)
from tests.waiting import BOUND_S


@dataclass
class Place:
    """A folder for terminals, the command of the holder, and what the shell around them has in its
    environment."""

    folder: Path
    holder: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str, **options: object) -> "subprocess.Popen[bytes]":
        around = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "SHELL": "/bin/sh",
            "PS1": "$ ",
            FOLDER: str(self.folder),
            **self.environment,
        }
        return subprocess.Popen(
            [*self.holder, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=around,
            **options,  # type: ignore[call-overload]
        )

    @contextmanager
    def peer(
        self, name: str = "main", *, verb: str = "attach", **options: object
    ) -> "Iterator[Peer]":
        process = self.start(verb, name, **options)
        peer = Peer(self, process, name)
        try:
            yield peer
        finally:
            process.kill()
            process.communicate()

    def faults(self) -> str:
        return "".join(path.read_text() for path in self.folder.glob("*.faults"))


@dataclass
class Peer:
    """Acknowledges what it reads, unless `acknowledges` is set to False."""

    place: Place
    process: "subprocess.Popen[bytes]"
    terminal: str
    acknowledges: bool = True
    welcome: Welcome | None = None
    seen: int = 0
    typed: int = 0
    received: int = 0
    output: bytearray = field(default_factory=bytearray)
    snapshot: bytes = b""
    gaps: list[Gap] = field(default_factory=list)
    exit: Exit | None = None
    notices: list[Notice] = field(default_factory=list)
    people: list[People] = field(default_factory=list)
    pongs: list[int] = field(default_factory=list)
    busy: bool = False
    ended: bool = False
    _frames: FrameBuffer = field(default_factory=FrameBuffer)

    def hello(
        self,
        command: str = "",
        *,
        size: Size | None = None,
        mode: Mode = Mode.MIRROR,
        term: str = "xterm-256color",
        lang: str = "C.UTF-8",
        attachment: str = "",
        seen: int = 0,
        owner: str = "",
        features: int = FEATURES,
    ) -> "Peer":
        self.seen = seen
        self.send(
            Hello(
                owner,
                self.terminal,
                attachment,
                seen,
                size or Size(80, 24),
                mode,
                term,
                lang,
                command,
                features,
            )
        )
        self.until(lambda: self.welcome is not None or self.notices)
        return self

    def send(self, frame: Frame) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(framed(frame))
        self.process.stdin.flush()

    def type(self, data: bytes) -> None:
        self.send(In(self.typed, data))
        self.typed += len(data)

    def catch_up(self) -> None:
        """Wait until all that the holder has sent so far has come."""
        number = len(self.pongs)
        self.send(Ping(number))
        self.until(lambda: number in self.pongs)

    def detach(self) -> None:
        self.send(Detach())
        self.until(lambda: self.ended)

    def until(self, true: Callable[[], object], bound_s: float = BOUND_S) -> None:
        """Read until it is true; fails loudly if it does not come about, or the line ends first."""
        deadline = time.monotonic() + bound_s
        while not true():
            left = deadline - time.monotonic()
            assert left > 0, f"it never came: {bytes(self.output[-500:])!r} {self.notices}"
            self.read(left)

    @property
    def text(self) -> bytes:
        """The output without the shell's prompts, which come sooner or later than an echo."""
        return bytes(self.output).replace(b"# ", b"").replace(b"$ ", b"")

    def shows(self, text: bytes, bound_s: float = BOUND_S) -> None:
        self.until(lambda: text in self.text, bound_s)

    def read(self, wait_s: float) -> None:
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        ready, _, _ = select.select([fd], [], [], wait_s)
        if not ready:
            return
        data = os.read(fd, 1 << 16)
        if not data:
            self.ended = True
            return
        for frame in self._frames.feed(data):
            self._take(decode(frame))

    def _take(self, frame: Frame) -> None:
        match frame:
            case Welcome():
                self.welcome = frame
                if frame.out_at != self.seen:
                    assert not self.output
                    self.seen = frame.out_at
                self.typed = frame.in_at
            case Out(at, data):
                assert at == self.seen, "a byte was left out, or came twice"
                self.seen += len(data)
                self.output += data
                if self.acknowledges:
                    # They may have gone, with their last words still here.
                    with suppress(BrokenPipeError):
                        self.send(Ack(self.seen))
            case Gap(start, end):
                assert start == self.seen
                self.seen = end
                self.gaps.append(frame)
            case Snapshot(data):
                self.snapshot += data
            case InAck(to):
                self.received = to
            case Exit():
                self.exit = frame
            case Pong(number, busy):
                self.pongs.append(number)
                self.busy = busy
            case People():
                self.people.append(frame)
            case Notice():
                self.notices.append(frame)
