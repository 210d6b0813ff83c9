"""Sessions by each access method, in which lines are sent and come back: none is lost, none comes twice."""

import contextlib
import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from stagedoor.net.tls import make_client_context
from tests.fixtures.gateway import PATIENCE_S
from tests.fixtures.laptop import Laptop
from tests.fixtures.terminal import WebTerminal, ticket
from tests.listeners.wire import bearer, dialled, head, read_answer
from tests.net.peers import Peer, TlsPeer

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
    """A loop in a shell that was entered by ssh."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def check(self, number: int) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{number}\n".encode())
        wanted, answer = f"got-{number}\n".encode(), b""
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
    process = subprocess.Popen(
        ["ssh", "-F", config, *words, LOOP],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    try:
        yield Shell(process)
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def by_webshell(port: int) -> Iterator[Session]:
    terminal = WebTerminal(port=port)
    terminal.hello(ticket(port), f"sh -c '{LOOP}'", terminal="upgraded")
    try:
        yield Browser(terminal)
    finally:
        terminal.close()


@contextlib.contextmanager
def every_way(laptop: Laptop, certificate: Path) -> Iterator[list[Session]]:
    """Yield a session by each access method, which has sent one line."""
    gateway, token = laptop.gateway, laptop.gateway.token()
    with contextlib.ExitStack() as stack:
        sessions = [
            stack.enter_context(by_connect(gateway.port(), token)),
            stack.enter_context(by_connect(gateway.port("tunnel-tls"), token, certificate)),
            stack.enter_context(by_ssh(laptop.config(), "app01.ssh")),
            stack.enter_context(by_ssh(laptop.config(user="app01"), "gw")),
            stack.enter_context(by_webshell(gateway.port("web"))),
        ]
        for session in sessions:
            session.check(0)
        yield sessions
