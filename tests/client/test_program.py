"""`stagedoor attach` at a gateway that does what the test says: late, wrong or in an unusual order."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from stagedoor.wire.terminal.codec import decode, encode
from stagedoor.wire.terminal.frames import (
    SUBPROTOCOL,
    Ack,
    Detach,
    Exit,
    Frame,
    Hello,
    In,
    InAck,
    Notice,
    NoticeKind,
    Out,
    Ping,
    Size,
    Welcome,
)
from tests.fixtures.terminal import console
from tests.laptop.scripted_gateway import Script, ScriptedGateway, answering, read_request
from tests.net.peers import write_certificate
from tests.waiting import BOUND_S, wait_until

BODY = b'{"target": "app01"}'
WELCOME = Welcome("a", 0, 0, 1000)


def to_ticket(status: str, text: str) -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}"
    ).encode()


class Link:
    """The gateway's end of a WebSocket whose HELLO has come."""

    def __init__(self, conn: socket.socket) -> None:
        self.conn = conn
        self._protocol = ServerProtocol(subprotocols=[Subprotocol(SUBPROTOCOL)])
        self._frames: list[Frame] = []
        self.sent: list[type[Frame]] = []
        self._protocol.receive_data(read_request(conn))
        (request,) = self._protocol.events_received()
        assert isinstance(request, Request)
        self._protocol.send_response(self._protocol.accept(request))
        self.send()
        hello = self.read()
        assert isinstance(hello, Hello)
        self.hello = hello

    def send(self, *frames: Frame) -> None:
        for frame in frames:
            self._protocol.send_binary(encode(frame))
            self.sent.append(type(frame))
        self.conn.sendall(b"".join(self._protocol.data_to_send()))

    def read(self) -> Frame:
        """Return the next frame. Raises EOFError at the end."""
        while not self._frames:
            data = self.conn.recv(65536)
            if not data:
                raise EOFError("the client hung up")
            self._protocol.receive_data(data)
            events = self._protocol.events_received()
            for event in events:
                assert isinstance(event, WebSocketFrame)
                if event.opcode is Opcode.BINARY:
                    self._frames.append(decode(bytes(event.data)))
        return self._frames.pop(0)

    def read_until(self, awaited: Callable[[Frame], bool]) -> Frame:
        while not awaited(frame := self.read()):
            pass
        return frame


def terminal(play: Callable[[Link], None]) -> Script:
    """Give the ticket that the request asks for, and play the terminal behind it until the client leaves."""

    def script(conn: socket.socket, _target: str) -> None:
        take_body(conn)
        conn.sendall(to_ticket("200 OK", '{"ticket": "t"}'))
        play(link := Link(conn))
        if Exit in link.sent:
            link.read_until(lambda frame: isinstance(frame, Detach))

    return script


def take_body(conn: socket.socket) -> None:
    body = b""
    while len(body) < len(BODY):
        body += conn.recv(len(BODY) - len(body))
    assert body == BODY


def refusing(status: str, text: str) -> Script:
    def script(conn: socket.socket, target: str) -> None:
        take_body(conn)
        answering(to_ticket(status, text))(conn, target)

    return script


def silent(conn: socket.socket, _target: str) -> None:
    """Read until the client hangs up, and answer nothing."""
    while conn.recv(65536):
        pass


def attach_command(url: str, *options: str) -> list[str]:
    reach = ["--url", url, "--user", "dev", "--via", "direct"]
    return [sys.executable, "-m", "stagedoor", "attach", *reach, *options, "app01"]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "STAGEDOOR_TOKEN": "x",
    }


@contextlib.contextmanager
def attached(
    gateway: ScriptedGateway, env: dict[str, str], *options: str
) -> "Iterator[subprocess.Popen[bytes]]":
    scheme, host = ("http", "127.0.0.1") if gateway.tls is None else ("https", "localhost")
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = attach_command(f"{scheme}://{host}:{gateway.port}", *options)
    with subprocess.Popen(command, env=env, start_new_session=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def test_records_that_wait_in_the_tls_layer_are_not_left_there(
    env: dict[str, str], tmp_path: Path
) -> None:
    """They came with others, whose frames were enough for one turn, and poll(2) does not see them."""
    certificate, key = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    heard: list[Frame] = []

    def play(link: Link) -> None:
        link.conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        link.send(WELCOME)
        for at in range(0, 200, 20):
            link.send(*(Out(at + more, b"x") for more in range(20)))
        link.conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        heard.append(link.read_until(lambda frame: frame == Ack(200) or isinstance(frame, Ping)))
        link.send(Exit(0))

    with (
        ScriptedGateway([terminal(play)], context) as gateway,
        attached(gateway, env, "--ca-file", str(certificate)) as process,
    ):
        # Its input does not end: it would be sent, and a PING asks soon what has become of it.
        assert process.stdout is not None
        assert process.stdout.read() == b"x" * 200
    assert heard == [Ack(200)]


def test_an_exit_counts_if_the_gateway_hangs_up_right_after_it(env: dict[str, str]) -> None:
    def play(link: Link) -> None:
        link.conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        link.send(WELCOME, Exit(3))
        link.conn.shutdown(socket.SHUT_WR)

    with ScriptedGateway([terminal(play)]) as gateway, attached(gateway, env) as process:
        assert process.wait(BOUND_S) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_while_the_gateway_has_not_answered(
    env: dict[str, str], number: signal.Signals
) -> None:
    with ScriptedGateway([silent]) as gateway, attached(gateway, env) as process:
        wait_until(lambda: gateway.requests)
        process.send_signal(number)
        assert process.wait(BOUND_S) == -number


def test_the_window_may_change_its_size_while_the_gateway_has_not_answered(
    env: dict[str, str],
) -> None:
    hold = threading.Event()
    sizes: list[Size] = []

    def play(link: Link) -> None:
        sizes.append(link.hello.size)
        link.send(WELCOME, Exit(0))

    def script(conn: socket.socket, target: str) -> None:
        assert hold.wait(BOUND_S)
        terminal(play)(conn, target)

    with (
        ScriptedGateway([script]) as gateway,
        console(attach_command(f"http://127.0.0.1:{gateway.port}"), env=env) as screen,
    ):
        wait_until(lambda: gateway.requests)
        screen.resize(100, 30)
        hold.set()
        assert screen.ends() == 0
    assert sizes == [Size(100, 30)]


def test_a_connection_lost_while_the_shell_starts_is_one_to_come_back_by(
    env: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"

    def play(link: Link) -> None:
        link.send(Notice(NoticeKind.PROGRESS, "starting"))
        wait_until(lambda: log.exists() and "starting" in log.read_text())

    busy = refusing("503 Service Unavailable", '{"message": "no worker is free"}')
    again = terminal(lambda link: link.send(WELCOME, Exit(3)))
    with (
        ScriptedGateway([terminal(play), busy, again]) as gateway,
        attached(gateway, env, "--log", str(log)) as process,
    ):
        _, stderr = process.communicate(timeout=BOUND_S)
    assert process.returncode == 3, stderr


def test_an_answer_without_a_ticket_is_an_error_of_one_line(env: dict[str, str]) -> None:
    with ScriptedGateway([refusing("200 OK", "{}")]) as gateway, attached(gateway, env) as process:
        _, stderr = process.communicate(timeout=BOUND_S)
    assert process.returncode == 255
    assert stderr.splitlines() == [
        b"stagedoor: the gateway's answer has no ticket; one of the two is too old"
    ]


def suspend(process: "subprocess.Popen[bytes]") -> None:
    """Suspend the program as Ctrl-Z does, and continue it."""
    process.send_signal(signal.SIGTSTP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    process.send_signal(signal.SIGCONT)


def test_what_is_typed_is_taken_before_the_screen_is_redrawn(env: dict[str, str]) -> None:
    """A new screen is for new clients only, and the input of the old one would be dropped."""
    arrived, again = threading.Event(), threading.Event()
    names: list[str] = []

    def play(link: Link) -> None:
        link.send(WELCOME)
        assert link.read_until(lambda frame: isinstance(frame, In)) == In(0, b"before")
        link.send(Out(0, b"\x1b[?1049h"))
        link.read_until(lambda frame: frame == Ack(8))
        arrived.set()
        assert link.read_until(lambda frame: isinstance(frame, In)) == In(6, b"after")
        again.set()
        link.send(InAck(11))
        with contextlib.suppress(EOFError):
            link.read_until(lambda _: False)

    def play_again(link: Link) -> None:
        names.append(link.hello.attachment)
        link.send(Welcome("b", 8, 0, 1000), Exit(0))

    with (
        ScriptedGateway([terminal(play), terminal(play_again)]) as gateway,
        attached(gateway, env) as process,
    ):
        assert process.stdin is not None
        process.stdin.write(b"before")
        process.stdin.flush()
        assert arrived.wait(BOUND_S)
        suspend(process)
        process.stdin.write(b"after")
        process.stdin.flush()
        assert again.wait(BOUND_S)
        assert process.wait(BOUND_S) == 0
    assert names == [""]


def test_the_window_s_title_is_there_again_after_a_pause(env: dict[str, str]) -> None:
    over = threading.Event()
    title = b"\x1b]2;access ends soon\x07"

    def play(link: Link) -> None:
        link.send(WELCOME)
        link.read_until(lambda frame: isinstance(frame, In))
        link.send(InAck(1), Notice(NoticeKind.ENDING, "access ends soon"))
        assert over.wait(BOUND_S)
        link.send(Exit(0))

    with (
        ScriptedGateway([terminal(play)]) as gateway,
        console(attach_command(f"http://127.0.0.1:{gateway.port}"), env=env) as screen,
    ):
        screen.type(b"k")
        at = screen.shows(title)
        suspend(screen.process)
        screen.shows(b"\x1b[22;2t" + title, at)
        over.set()
        assert screen.ends() == 0
