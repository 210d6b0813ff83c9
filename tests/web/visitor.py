"""One who visits a terminal over a real WebSocket, and believes only what fits together."""

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from stagedoor.wire.terminal.codec import decode, encode
from stagedoor.wire.terminal.frames import (
    SUBPROTOCOL,
    Ack,
    Exit,
    Frame,
    Gap,
    Hello,
    In,
    InAck,
    Mode,
    Notice,
    NoticeKind,
    Out,
    People,
    Size,
    Snapshot,
    Welcome,
)
from tests.path.gateway import PASSWORD, Gateway
from tests.shells.world import wait_until
from tests.waiting import BOUND_S

END_S = 40.0
"""A person whose right has gone must be out within this time: some seconds, and a busy machine's share."""


def post(
    port: int, path: str, body: bytes, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, JSON body and headers of the answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=body, headers=headers or {}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=BOUND_S) as answer:
            return answer.status, json.load(answer), dict(answer.headers)
    except urllib.error.HTTPError as error:
        text = error.read()
        return error.code, json.loads(text) if text else {}, dict(error.headers)


def basic(name: str = "dev", secret: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


def ticket(port: int, target: str = "app01", headers: dict[str, str] | None = None) -> str:
    status, answer, _ = post(
        port, "/api/ticket", json.dumps({"target": target}).encode(), headers or basic()
    )
    assert status == 200, answer
    return str(answer["ticket"])


def let_in(gateway: Gateway) -> None:
    """Make the developer known to a gateway that runs: they are in once it has heard of all of it."""
    gateway.add_user("dev", "app01")
    # Of the user first: a name that is not known yet would be throttled.
    gateway.wait_for(lambda line: line["event"] == "policy changed")
    port, asked = gateway.port("web"), json.dumps({"target": "app01"}).encode()
    wait_until(lambda: post(port, "/api/ticket", asked, basic())[0] == 200)


@dataclass
class Visitor:
    """`source` is what the gateway calls their end of the line, in its log and in its lists."""

    port: int
    source: str = ""
    acknowledges: bool = True
    welcome: Welcome | None = None
    seen: int = 0
    typed: int = 0
    output: bytearray = field(default_factory=bytearray)
    snapshot: bytes = b""
    gaps: list[Gap] = field(default_factory=list)
    exit: Exit | None = None
    received: int = 0
    notices: list[Notice] = field(default_factory=list)
    people: list[People] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    gone: bool = False
    socket: ClientConnection | None = None
    _until_closed: ExitStack = field(default_factory=ExitStack)

    def open(self, *, compression: str | None = None, **options: Any) -> "Visitor":
        self.socket = self._until_closed.enter_context(
            connect(
                f"ws://127.0.0.1:{self.port}/terminal",
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                compression=compression,
                proxy=None,
                open_timeout=BOUND_S,
                **options,
            )
        )
        host, port = self.socket.local_address
        self.source = f"{host}:{port}"
        return self

    def hello(
        self,
        given: str,
        command: str = "",
        *,
        terminal: str = "main",
        attachment: str = "",
        seen: int = 0,
        mode: Mode = Mode.MIRROR,
    ) -> "Visitor":
        if self.socket is None:
            self.open()
        self.seen = seen
        self.send(
            Hello(
                given, terminal, attachment, seen, Size(80, 24), mode,
                "xterm-256color", "C.UTF-8", command,
            )
        )  # fmt: skip
        self.until(lambda: self.welcome is not None or self.gone)
        return self

    def send(self, frame: Frame) -> None:
        assert self.socket is not None
        self.socket.send(encode(frame))

    def type(self, data: bytes) -> None:
        self.send(In(self.typed, data))
        self.typed += len(data)

    @property
    def text(self) -> bytes:
        return bytes(self.output).replace(b"# ", b"").replace(b"$ ", b"")

    def shows(self, text: bytes) -> None:
        self.until(lambda: text in self.text)

    def until(self, true: Callable[[], object], bound_s: float = BOUND_S) -> None:
        deadline = time.monotonic() + bound_s
        while not true():
            left = deadline - time.monotonic()
            assert left > 0, f"it never came: {bytes(self.output[-500:])!r} {self.notices}"
            assert not self.gone, f"the gateway hung up: {self.notices}"
            self.read(left)

    def read(self, wait_s: float) -> None:
        assert self.socket is not None
        try:
            data = self.socket.recv(wait_s)
        except TimeoutError:
            return
        except ConnectionClosed:
            self.gone = True
            return
        assert isinstance(data, bytes)
        self._take(decode(data))

    def close(self) -> None:
        self._until_closed.close()

    def cut(self) -> None:
        """The line is gone, without a word."""
        assert self.socket is not None
        self.socket.socket.shutdown(2)
        self.close()

    def _take(self, frame: Frame) -> None:
        match frame:
            case Welcome():
                self.welcome = frame
                if frame.out_at != self.seen:
                    assert not self.output
                    self.seen = frame.out_at
                self.typed = self.received = frame.in_at
            case Out(at, data):
                assert at == self.seen, "a byte was left out, or came twice"
                self.seen += len(data)
                self.output += data
                if self.acknowledges:
                    with suppress(ConnectionClosed):  # what was on its way is still to be read
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
            case People():
                self.people.append(frame)
            case Notice(NoticeKind.PROGRESS, text):
                self.steps.append(text)
            case Notice():
                self.notices.append(frame)
