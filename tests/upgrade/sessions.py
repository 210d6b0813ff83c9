"""Sessions by each access method, in which lines are sent and come back: none is lost, none comes twice."""

import contextlib
import os
import select
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from stagedoor.net.tls import make_client_context
from tests.fixtures.gateway import PATIENCE_S
from tests.fixtures.laptop import Laptop
from tests.fixtures.terminal import WebTerminal, ticket
from tests.listeners.wire import bearer, dialled, head, read_answer
from tests.net.peers import Peer, TlsPeer
from tests.stopped import killed
from tests.web.outer import attach_command

LOOP = "stty -echo 2>/dev/null; while read -r line; do echo got-$line; done"


class Session(Protocol):
    """A session that runs."""

    def check(self, number: int) -> None:
        """Send a line with a number, and read its answer and nothing else."""


class Tunnel:
    """A CONNECT to an echo server."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def check(self, number: int) -> None:
        line = f"got-{number}\n".encode()
        self._peer.send(line)
        assert self._peer.read_exactly(len(line)) == line


class Shell:
    """A loop in a shell that was entered by ssh, or by `stagedoor attach` with a terminal's line ends."""

    def __init__(self, process: "subprocess.Popen[bytes]", line_end: str = "\n") -> None:
        self._process = process
        self._line_end = line_end

    def check(self, number: int) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{number}\n".encode())
        except BrokenPipeError:
            ended = self._process.wait(PATIENCE_S)
            raise AssertionError((number, "ended before", ended, self._said())) from None
        wanted, answer = f"got-{number}{self._line_end}".encode(), b""
        while len(answer) < len(wanted):
            ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE_S)
            assert ready, (number, answer)
            data = os.read(self._process.stdout.fileno(), 4096)
            assert data, (number, answer, self._process.wait(PATIENCE_S), self._said())
            answer += data
        assert answer == wanted

    def _said(self) -> bytes:
        assert self._process.stderr is not None
        return self._process.stderr.read()


class Browser:
    """A terminal of the WebShell."""

    def __init__(self, terminal: WebTerminal) -> None:
        self._terminal = terminal

    def check(self, number: int) -> None:
        self._terminal.type(f"{number}\n".encode())
        self._terminal.shows(f"got-{number}\r\n".encode())
        assert self._terminal.output.count(f"got-{number}\r\n".encode()) == 1


@contextlib.contextmanager
def by_connect(port: int, token: str, certificate: Path | None = None) -> Iterator[Session]:
    with dialled(port) as plain:
        peer = plain
        if certificate is not None:
            peer = TlsPeer(plain.sock, make_client_context(certificate))
            peer.handshake()
        peer.send(head("echo-ssh:22", bearer(token)))
        assert read_answer(peer).status == 200
        yield Tunnel(peer)


@contextlib.contextmanager
def by_ssh(config: Path, *words: str) -> Iterator[Session]:
    with _started(["ssh", "-F", config, *words, LOOP]) as process:
        yield Shell(process)


@contextlib.contextmanager
def by_attach(folder: Path, port: int) -> Iterator[Session]:
    loop = f"stty -echo; echo ready; {LOOP}"
    command = attach_command(folder, port, "app01", "--", "sh", "-c", loop)
    with _started(command) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\r\n", process.communicate()
        yield Shell(process, "\r\n")


def _started(
    command: list[str | Path],
) -> contextlib.AbstractContextManager["subprocess.Popen[bytes]"]:
    pipe = subprocess.PIPE
    return killed(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0))


@contextlib.contextmanager
def by_webshell(port: int) -> Iterator[Session]:
    terminal = WebTerminal(port=port)
    terminal.hello(ticket(port), f"sh -c '{LOOP}'", terminal=f"upgraded-{os.urandom(4).hex()}")
    try:
        yield Browser(terminal)
    finally:
        terminal.close()


@contextlib.contextmanager
def every_way(laptop: Laptop, certificate: Path, count: int = 6) -> Iterator[list[Session]]:
    """Yield `count` sessions, which have sent one line, by one access method after the other."""
    gateway, token = laptop.gateway, laptop.gateway.token()
    ways: Sequence[Callable[[], contextlib.AbstractContextManager[Session]]] = (
        lambda: by_connect(gateway.port(), token),
        lambda: by_connect(gateway.port("tunnel-tls"), token, certificate),
        lambda: by_ssh(laptop.config(), "app01.ssh"),
        lambda: by_ssh(laptop.config(user="app01"), "gw"),
        lambda: by_webshell(gateway.port("web")),
        lambda: by_attach(gateway.folder, gateway.port("web")),
    )
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(ways[number % len(ways)]()) for number in range(count)]
        for session in sessions:
            session.check(0)
        yield sessions
