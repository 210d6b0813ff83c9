"""Our terminals and ttyd's by their WebSocket, without a browser. The calls block."""

import base64
import contextlib
import json
import select
import socket
import time
from collections.abc import Callable

from load.tunnel import TIMEOUT_S, LoadError
from peers import NAME, PASSWORD
from stagedoor.client.attach.web import WebSocket, WebSocketError
from stagedoor.wire.terminal.codec import decode, encode
from stagedoor.wire.terminal.frames import (
    MAX_FRAME_BYTES,
    SUBPROTOCOL,
    Ack,
    Detach,
    Frame,
    Hello,
    In,
    Mode,
    Notice,
    NoticeKind,
    Out,
    Size,
    Welcome,
)

_CHUNK = 256 * 1024
_SIZE = Size(80, 24)
REFUSALS = frozenset(
    {NoticeKind.DENIED, NoticeKind.REVOKED, NoticeKind.SIGNED_OUT, NoticeKind.FAULT}
)


class _Socket:
    """A connection for HTTP, and then for a WebSocket."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._port = port

    def post(self, path: str, body: bytes, headers: str) -> tuple[int, bytes]:
        """POST `body`; return status and body of the answer. Raises LoadError."""
        self.socket.sendall(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n{headers}"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head, rest = self._head()
        length = next(
            int(line[15:])
            for line in head.lower().split(b"\r\n")
            if line[:15] == b"content-length:"
        )
        while len(rest) < length:
            rest += self._received()
        return int(head.split(b" ", 2)[1]), rest

    def open(self, path: str, subprotocol: str) -> list[bytes]:
        """Upgrade to a WebSocket; return the messages that came with the answer. Raises LoadError."""
        most = max(MAX_FRAME_BYTES, 1 << 20)
        self._websocket = WebSocket("127.0.0.1", self._port, path, subprotocol, most)
        self.socket.sendall(self._websocket.take_unsent())
        messages: list[bytes] = []
        while not self._websocket.is_open:
            messages += self.messages()
        return messages

    def send(self, data: bytes) -> None:
        """Send a message. Raises LoadError."""
        try:
            self._websocket.send(data)
            self.socket.sendall(self._websocket.take_unsent())
        except (OSError, WebSocketError) as error:
            raise LoadError(f"cut while sending: {error}") from None

    def messages(self) -> list[bytes]:
        """Return the messages of one read, which may block. Raises LoadError once it is closed."""
        try:
            return self._websocket.feed(self._received())
        except WebSocketError as error:
            raise LoadError(str(error)) from None

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def _head(self) -> tuple[bytes, bytes]:
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._received()
        head, _, rest = received.partition(b"\r\n\r\n")
        return head, rest

    def _received(self) -> bytes:
        try:
            data = self.socket.recv(_CHUNK)
        except OSError as error:
            raise LoadError(f"cut while reading: {error}") from None
        if not data:
            raise LoadError("hung up")
        return data


class WebClient:
    """A client that is attached to one of our terminals, and can reconnect as the same.

    It checks that all output is consecutive, so that lost or repeated output raises LoadError.
    """

    def __init__(self, port: int, terminal: str, command: str = "") -> None:
        self.terminal = terminal
        self.attachment = ""
        self.seen = 0
        self.shown = bytearray()
        """The last 64 bytes that the terminal has shown."""
        self._port = port
        self._command = command
        self._typed = 0
        self._socket: _Socket | None = None

    def open(self) -> "WebClient":
        """Attach, for the first time or again. Raises LoadError, also if the terminal has forgotten it."""
        self._socket = _Socket(self._port)
        basic = base64.b64encode(f"{NAME}:{PASSWORD}".encode()).decode()
        status, answer = self._socket.post(
            "/api/ticket", b'{"target": "app01"}', f"Authorization: Basic {basic}\r\n"
        )
        if status != 200:
            raise LoadError(f"no ticket: {status} {answer.decode(errors='replace')}")
        before = self.attachment
        early = self._socket.open("/terminal", SUBPROTOCOL)
        self._send(
            Hello(
                json.loads(answer)["ticket"], self.terminal, before, self.seen, _SIZE, Mode.MIRROR,
                "xterm-256color", "C.UTF-8", self._command,
            )
        )  # fmt: skip
        self.attachment = ""
        for message in early:
            self._handle(message)
        while not self.attachment:
            self.take()
        if before and self.attachment != before:
            raise LoadError("it was forgotten meanwhile")
        return self

    def fileno(self) -> int:
        """Return the descriptor, to poll for reading."""
        assert self._socket is not None, "it is open"
        return self._socket.socket.fileno()

    def type(self, data: bytes) -> None:
        """Type some bytes. Raises LoadError."""
        self._send(In(self._typed, data))
        self._typed += len(data)

    def take(self) -> int:
        """Read once and acknowledge the output; return its number of bytes. Raises LoadError."""
        assert self._socket is not None, "it is open"
        count = sum(self._handle(message) for message in self._socket.messages())
        if count:
            self._send(Ack(self.seen))
        return count

    def leave(self) -> None:
        """Detach and close. After a mere cut, the program would be kept for a reconnect. Raises LoadError."""
        self._send(Detach())
        with contextlib.suppress(LoadError):
            while True:
                self.take()
        self.close()

    def close(self) -> None:
        """Cut the connection without a detach."""
        if self._socket is not None:
            self._socket.close()

    def _send(self, frame: Frame) -> None:
        assert self._socket is not None, "it is open"
        self._socket.send(encode(frame))

    def _handle(self, message: bytes) -> int:
        frame = decode(message)
        match frame:
            case Welcome():
                if self.attachment == "" and self.seen == 0:
                    self.seen = frame.out_at
                elif frame.out_at != self.seen:
                    raise LoadError(f"it goes on at {frame.out_at}, not {self.seen}")
                self.attachment, self._typed = frame.attachment, frame.in_at
            case Out(at, data):
                if at != self.seen:
                    raise LoadError(f"output from {at} on, not {self.seen}")
                self.seen += len(data)
                self.shown += data
                del self.shown[:-64]
                return len(data)
            case Notice(word, text) if word in REFUSALS:
                raise LoadError(text)
            case _:
                pass
        return 0


class TtydClient:
    """One connection to ttyd, with its own program, to which a client cannot return."""

    def __init__(self, port: int) -> None:
        self.shown = bytearray()
        self._port = port
        self._socket: _Socket | None = None

    def open(self) -> "TtydClient":
        """Connect, and return once the program has shown something. Raises LoadError."""
        self._socket = _Socket(self._port)
        early = self._socket.open("/ws", "tty")
        self._socket.send(b'{"AuthToken":"","columns":80,"rows":24}')
        received = sum(map(self._handle, early))
        while not received:
            received = self.take()
        return self

    def fileno(self) -> int:
        """Return the descriptor, to poll for reading."""
        assert self._socket is not None, "it is open"
        return self._socket.socket.fileno()

    def type(self, data: bytes) -> None:
        """Type some bytes. Raises LoadError."""
        assert self._socket is not None, "it is open"
        self._socket.send(b"0" + data)

    def take(self) -> int:
        """Read once; return the number of bytes of output. Raises LoadError."""
        assert self._socket is not None, "it is open"
        return sum(map(self._handle, self._socket.messages()))

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()

    def _handle(self, message: bytes) -> int:
        if message[:1] != b"0":
            return 0  # its title and its settings
        self.shown += message[1:]
        del self.shown[:-64]
        return len(message) - 1


Terminal = WebClient | TtydClient


def until_shown(terminal: Terminal, text: bytes, bound_s: float = TIMEOUT_S) -> None:
    """Read until the last output has `text`. Raises LoadError."""
    until = time.monotonic() + bound_s
    while text not in terminal.shown:
        if time.monotonic() > until:
            raise LoadError(
                f"{text!r} was not shown within {bound_s:g} s: {bytes(terminal.shown)!r}"
            )
        terminal.take()


def keystrokes(terminal: Terminal, count: int) -> list[float]:
    """Return the seconds of each of `count` round trips of a byte that is echoed. Raises LoadError."""
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        terminal.type(b"k")
        while not terminal.take():
            pass
        times.append(time.perf_counter() - begin)
    return times


def hear_all(terminals: list[Terminal], done: Callable[[Terminal], bool], bound_s: float) -> int:
    """Read until `done` holds for all terminals; return how many are left after `bound_s`."""
    left = {terminal.fileno(): terminal for terminal in terminals if not done(terminal)}
    until = time.monotonic() + bound_s
    with select.epoll() as poll:
        for number in left:
            poll.register(number, select.EPOLLIN)
        while left and time.monotonic() < until:
            for number, _ in poll.poll(until - time.monotonic()):
                try:
                    left[number].take()
                    over = done(left[number])
                except LoadError:
                    poll.unregister(number)
                    continue
                if over:
                    poll.unregister(number)
                    del left[number]
    return len(left)
