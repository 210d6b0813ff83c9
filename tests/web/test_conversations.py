"""Every conversation over the real thing: a whole gateway, its WebSocket, and a real holder of either kind.

Held to the same file as the parts are. What differs from run to run is made even first, nothing else:

- The ticket, the terminal's name and those of attachments are others. Each name of an attachment in the
  file stands for one here, wherever it comes.
- How output is cut into frames is the kernel's doing: OUT frames in a row are taken as one piece.
- The kernel's own buffer takes what is typed before the program does. So an INACK may come sooner and in
  other steps; where it stands in the file it has come, and in the end it says the same.
- The gateway's own words (how far the shell has come, who looks on) are passed over.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from stagedoor.holder.folder import connect, find_holder
from stagedoor.wire.terminal.codec import FrameBuffer, decode, encode, encode_framed
from stagedoor.wire.terminal.frames import (
    Ack,
    Frame,
    FrameKind,
    Gap,
    Hello,
    InAck,
    Mode,
    Notice,
    NoticeKind,
    Out,
    People,
    Ping,
    Pong,
    Size,
    Welcome,
)
from tests.fixtures.gateway import Gateway
from tests.fixtures.terminal import BOUND_S, WebTerminal, ticket
from tests.holder.compiled import compiled
from tests.waiting import wait_until
from tests.web import scripted
from tests.wire.conversation import Step, unrun
from tests.wire.conversations import told_to

RECEIVED = told_to("terminal") | told_to("gateway")
NOT_LIVE = {
    "what is typed again, since nobody said that it had come, is taken once": (
        "a real terminal's buffer takes a few bytes at once, so all of them are told as taken"
    ),
    "more input than a window ends the line, and the terminal stays": (
        "how much a real terminal's buffer takes of it is not known beforehand"
    ),
    "a line that is cut holds the program for a minute, and no longer": "a minute is long",
}
PASSED_OVER = (NoticeKind.PROGRESS, NoticeKind.RECORDED)


@dataclass
class ScriptedGateway:
    """A gateway, and where its shell has terminals and asks what to do in them."""

    gateway: Gateway
    terminals: Path
    listener: socket.socket


@pytest.fixture(scope="module", params=["python", "kit"])
def scripted_gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ScriptedGateway]:
    folder = tmp_path_factory.mktemp("live")
    terminals = folder / "t"
    terminals.mkdir(mode=0o700)
    shell = folder / "shell"
    # The gateway asks for Python's holder; where it is to be the kit's, the shell starts that in its place.
    starts = 'exec /bin/sh -c "$2"'
    if request.param == "kit":
        starts = f'set -- $2; shift 3; exec {compiled(folder)} "$@"'
    shell.write_text(
        f'#!/bin/sh\n[ "$1" != -c ] || {{ {starts}; }}\nexec {sys.executable} {scripted.__file__}\n'
    )
    shell.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(BOUND_S)
        listener.bind(str(folder / "s"))
        listener.listen()
        settings = (
            f'[web]\naddresses = ["127.0.0.1:0"]\n[[shells.local]]\napp = "app01"\nlogin_shell = "{shell}"\n'
            f'env = {{ STAGEDOOR_TERMINALS = "{terminals}", SCRIPT = "{folder / "s"}" }}\n'
        )
        with Gateway(folder, settings) as gateway:
            gateway.add_user("dev", "app01")
            yield ScriptedGateway(gateway.start(), terminals, listener)
            assert "".join(path.read_text() for path in terminals.glob("*.faults")) == ""


class Program:
    """The scripted program's ear."""

    def __init__(self, listener: socket.socket) -> None:
        self._line, _ = listener.accept()
        self._line.settimeout(BOUND_S)
        self._answers = self._line.makefile(encoding="ascii")
        self._number = 0

    def send(self, what: str, with_what: Any = None) -> int:
        self._number += 1
        self._line.sendall(json.dumps([self._number, what, with_what]).encode() + b"\n")
        return self._number

    def ask(self, what: str, with_what: Any = None) -> Any:
        number = self.send(what, with_what)
        while True:
            answered, answer = json.loads(self._answers.readline())
            if answered == number:
                return answer

    def close(self) -> None:
        self._answers.close()
        self._line.close()


@dataclass
class Line:
    """A person's line. `came` is what has come and no step has spoken of yet, output in one piece."""

    client: WebTerminal
    came: list[Frame] = field(default_factory=list)
    taken: int = 0
    said_hello: bool = False

    def receive(self) -> None:
        assert self.client.socket is not None
        data = self.client.socket.recv(BOUND_S)
        assert isinstance(data, bytes)
        frame, last = decode(data), self.came[-1] if self.came else None
        match frame:
            case InAck(to):
                assert to >= self.taken
                self.taken = to
            case Notice(word, _) if word in PASSED_OVER:
                pass
            case People():
                pass  # it comes whenever the gateway has asked who is there
            case Out(at, shown) if isinstance(last, Out):
                assert at == last.at + len(last.data), "a byte was left out, or came twice"
                self.came[-1] = Out(last.at, last.data + shown)
            case _:
                self.came.append(frame)

    def next(self) -> Frame:
        while not self.came:
            self.receive()
        return self.came.pop(0)

    def shows(self, expected: Out) -> None:
        frame = self.next()
        assert isinstance(frame, Out), frame
        while len(frame.data) < len(expected.data):
            more = self.next()
            assert isinstance(more, Out), more
            assert more.at == frame.at + len(frame.data)
            frame = Out(frame.at, frame.data + more.data)
        length = len(expected.data)
        assert (frame.at, frame.data[:length]) == (expected.at, expected.data)
        if frame.data[length:]:
            self.came.insert(0, Out(frame.at + length, frame.data[length:]))

    def closes(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                self.receive()
        assert self.came == []
        self.client.close()


class Replay:
    def __init__(self, scripted_gateway: ScriptedGateway, name: str, steps: list[Step]) -> None:
        self.scripted_gateway = scripted_gateway
        self.terminal = name
        self.steps = steps
        self.lines: dict[str, Line] = {}
        self.old: list[Line] = []
        self.names: dict[str, str] = {}
        self.program: Program | None = None
        self.written = 0

    @property
    def socket(self) -> Path:
        return self.scripted_gateway.terminals / f"{self.terminal}.terminal"

    def is_held(self) -> bool:
        line = connect(self.socket)
        if line is not None:
            line.close()
        return line is not None

    def run(self) -> None:
        try:
            for step in self.steps:
                match step:
                    case {"terminal": what}:
                        self.does(what, step)
                    case {"who": who, "do": "connects"}:
                        self.lines[who] = Line(
                            WebTerminal(self.scripted_gateway.gateway.port("web")).open()
                        )
                    case {"who": who, "do": "cut", "unnoticed": True}:
                        self.old.append(self.lines.pop(who))
                    case {"who": who, "do": "cut"}:
                        self.lines.pop(who).client.cut()
                    case {"who": who, "up": frame} if "lost" not in step:
                        self.says(self.lines[who], unrun(frame))
                    case {"who": who, "down": frame} if "lost" not in step:
                        self.hears(self.lines[who], decode(unrun(frame)))
                    case {"hangs_up": "old"}:
                        self.old.pop().closes()
                    case {"who": who, "hangs_up": True}:
                        self.lines.pop(who).closes()
            for who, line in self.lines.items():
                self.rests(who, line)
        finally:
            for line in (*self.lines.values(), *self.old):
                line.client.close()
            self.end()

    def says(self, line: Line, data: bytes) -> None:
        assert line.came == [], "more came than was to"
        assert line.client.socket is not None
        if data[:1] != bytes([FrameKind.HELLO]) or line.said_hello:
            line.client.socket.send(data)
            return
        frame = decode(data)
        assert isinstance(frame, Hello)
        line.said_hello = True
        own = replace(
            frame,
            ticket=ticket(line.client.port),
            terminal=self.terminal,
            attachment=self.names.get(frame.attachment, ""),
        )
        line.client.socket.send(encode(own))
        self.program = self.program or Program(self.scripted_gateway.listener)

    def hears(self, line: Line, expected: Frame) -> None:
        match expected:
            case Out():
                line.shows(expected)
            case InAck(to):
                while line.taken < to:
                    line.receive()
            case Welcome():
                frame = line.next()
                assert isinstance(frame, Welcome), frame
                known = self.names.setdefault(expected.attachment, frame.attachment)
                assert replace(frame, attachment="") == replace(expected, attachment="")
                assert frame.attachment == known
                assert len(set(self.names.values())) == len(self.names)
                line.taken = frame.in_at
            case Notice(NoticeKind.TAKEN_OVER, text):
                # A person that a gateway let in has a name.
                assert line.next() == replace(expected, text=text.replace("another user", "dev"))
            case _:
                assert line.next() == expected

    def rests(self, who: str, line: Line) -> None:
        """Nothing more has come, and no more was taken than was reported."""
        assert line.client.socket is not None
        line.client.socket.send(encode(Ping(1)))
        assert isinstance(line.next(), Pong)
        frames = [frame for step in self.steps if step.get("who") == who and "down" in step
                if isinstance(frame := decode(unrun(step["down"])), InAck | Welcome)]  # fmt: skip
        last = frames[-1]
        assert line.taken == (last.to if isinstance(last, InAck) else last.in_at)

    # The program's side.

    def does(self, what: str, step: Step) -> None:
        program = self.program
        assert program is not None
        match what:
            case "writes":
                data = unrun(step["data"])
                self.written += len(data)
                program.send("writes", data.hex())
                if not self.lines:
                    self.wait_until_held()
            case "takes":
                data = unrun(step["data"])
                assert bytes.fromhex(program.ask("takes", len(data))) == data
            case "exits":
                program.send("exits", [step["code"], step["signal"]])
            case "busy":
                program.ask("busy", step["is"])
            case "sized":
                wait_until(lambda: program.ask("size") == step["size"])
            case "anew":
                self.end()
                self.program = None
                self.written = 0
            case "is_over":
                wait_until(lambda: not self.is_held())
            case "redraws" | "reads":
                pass  # seen by what comes of it; `tests/holder` has it to the letter
            case _:
                raise AssertionError(f"nothing live is {what}")

    def wait_until_held(self) -> None:
        """Until the holder has all that was written, by one who looks on, past the gateway."""
        line = connect(self.socket)
        assert line is not None
        frames, seen = FrameBuffer(), 0
        with line:
            line.settimeout(BOUND_S)
            line.sendall(encode_framed(Hello("", self.terminal, "", 0, Size(80, 24), Mode.WATCH)))
            while seen < self.written:
                for frame in frames.feed(line.recv(1 << 16)):
                    match decode(frame):
                        case Welcome(_, at, _, _, _) | Gap(_, at):
                            seen = at
                        case Out(at, shown):
                            seen = at + len(shown)
                            line.sendall(encode_framed(Ack(seen)))

    def end(self) -> None:
        """The holder and all that it holds, at once."""
        line = connect(self.socket)
        if line is not None:
            with line:
                os.kill(find_holder(line), signal.SIGKILL)
        wait_until(lambda: not self.is_held())
        if self.program is not None:
            self.program.close()


def test_what_is_left_out_is_known() -> None:
    assert set(NOT_LIVE) <= set(RECEIVED)


@pytest.mark.parametrize("name", [name for name in RECEIVED if name not in NOT_LIVE])
def test_a_gateway_and_a_holder_have_their_part_in(
    scripted_gateway: ScriptedGateway, name: str
) -> None:
    Replay(scripted_gateway, f"c{list(RECEIVED).index(name)}", RECEIVED[name]).run()
