"""Forwarding and many channels: what developers do beside typing."""

import asyncio
import contextlib
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stagedoor.shells.local.settings import LocalShell
from stagedoor.shells.local.sshd import LocalServer
from tests.fixtures.laptop import Ssh
from tests.ports import free_port
from tests.shells.host import ShellHost, running, ssh_with
from tests.waiting import wait_until


class Echo(socketserver.StreamRequestHandler):
    """Answers only after the other side has half-closed, so that half-close is tested as well."""

    def handle(self) -> None:
        self.wfile.write(b"<" + self.rfile.read() + b">")


@pytest.fixture
def service() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def exchange(sock: socket.socket, payload: bytes) -> bytes:
    threading.Thread(target=lambda: (sock.sendall(payload), sock.shutdown(socket.SHUT_WR))).start()
    got = b""
    while chunk := sock.recv(65536):
        got += chunk
    return got


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


@contextlib.contextmanager
def forwarding(config: Path, *options: str) -> Iterator[None]:
    """An ssh that only forwards; entered once it does."""
    client = subprocess.Popen(
        ["ssh", "-F", config, "-o", "ExitOnForwardFailure=yes", *options, "shell",
         "echo up; read -r _"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert client.stdout is not None
    try:
        assert client.stdout.readline() == b"up\n"
        yield
    finally:
        client.communicate(timeout=30)


PAYLOAD = bytes(range(256)) * 8192


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_local_forward_half_close_included(config: Path, service: int, host: str) -> None:
    port = free_port()
    with forwarding(config, "-L", f"127.0.0.1:{port}:{host}:{service}"), connect(port) as sock:
        assert exchange(sock, PAYLOAD) == b"<" + PAYLOAD + b">"


def test_remote_forward_half_close_included(config: Path, service: int) -> None:
    port = free_port()
    with (
        forwarding(config, "-R", f"127.0.0.1:{port}:127.0.0.1:{service}"),
        connect(port) as sock,
    ):
        assert exchange(sock, PAYLOAD) == b"<" + PAYLOAD + b">"


def test_remote_forward_by_the_usual_short_form(config: Path, service: int) -> None:
    port = free_port()
    with forwarding(config, "-R", f"{port}:127.0.0.1:{service}"), connect(port) as sock:
        assert exchange(sock, b"hello") == b"<hello>"


def test_a_command_may_use_at_once_what_is_forwarded_to_it(config: Path, service: int) -> None:
    port = free_port()
    done = ssh_with(config)(
        f"exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; echo there'",
        *("-R", f"{port}:127.0.0.1:{service}"),
    )
    assert done.stdout == b"there\n", done.stderr


class Slow:
    """asyncssh's connection, with a listener that is long in coming."""

    def __init__(self) -> None:
        self.may_open = asyncio.Event()
        self.validate_public_key = None
        self._packet_handlers: dict[int, object] = {}

    async def forward_local_port(self, *_: object) -> object:
        await self.may_open.wait()
        raise OSError("in use")


async def test_no_session_begins_before_what_was_asked_for_earlier_is_forwarded() -> None:
    """The name of the listener's address is looked up meanwhile; sshd does one after the other. ssh sends
    both without waiting."""
    shell = LocalShell("app01")
    shared_host: Any = SimpleNamespace(
        shell=shell, is_draining=False, note_connection=lambda login: None
    )
    login, slow = LocalServer(shared_host), Slow()
    login.connection_made(slow)  # type: ignore[arg-type]
    forwarding = asyncio.create_task(login.server_requested("localhost", 8080))
    session = asyncio.create_task(login.session_requested())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not session.done()
    slow.may_open.set()
    with pytest.raises(OSError, match="in use"):
        await forwarding
    await session  # with or without a listener


@pytest.mark.parametrize("address", ["0.0.0.0", "*", "::"])
def test_remote_forward_never_listens_to_other_machines(config: Path, address: str) -> None:
    done = ssh_with(config)(
        "true", "-o", "ExitOnForwardFailure=yes", "-R", f"[{address}]:{free_port()}:127.0.0.1:1"
    )
    assert done.returncode == 255
    assert b"remote port forwarding failed" in done.stderr


def test_the_w_option_is_a_pipe_to_a_port(config: Path, service: int) -> None:
    done = subprocess.run(
        ["ssh", "-F", config, "-W", f"127.0.0.1:{service}", "shell"],
        input=PAYLOAD, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == b"<" + PAYLOAD + b">"


def test_a_port_where_nobody_listens_is_refused_and_the_session_goes_on(config: Path) -> None:
    port = free_port()
    with forwarding(config, "-L", f"127.0.0.1:{port}:127.0.0.1:{free_port()}"), connect(port) as s:
        assert s.recv(1) == b""


def listens(path: str) -> bool:
    """Return whether a process answers at that socket, which is there a moment before."""
    with socket.socket(socket.AF_UNIX) as asking:
        return asking.connect_ex(path) == 0


@contextlib.contextmanager
def agent(folder: Path, key: Path) -> Iterator[str]:
    path = str(folder / "agent")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: listens(path))
        subprocess.run(
            ["ssh-add", "-q", key], env={"SSH_AUTH_SOCK": path, "PATH": "/usr/bin:/bin"}, check=True
        )
        yield path
    finally:
        process.terminate()
        process.wait()


def test_an_agent_is_forwarded_only_if_the_client_asks_for_it(
    host: ShellHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = ("-A", "-o", "IdentityAgent=SSH_AUTH_SOCK")
    with agent(tmp_path, host.folder / "id") as path:
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        with running(host) as (_, shell):
            ssh = ssh_with(host.config(shell))
            assert b"ED25519" in ssh("ssh-add -l", *ours).stdout
            assert ssh("echo ${SSH_AUTH_SOCK-none}").stdout == b"none\n"


def test_x11_and_unix_sockets_and_tunnels_are_refused(
    ssh: Ssh, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", ":99")
    assert ssh("echo ${DISPLAY-none}", "-Y").stdout == b"none\n"
    done = ssh("true", "-o", "ExitOnForwardFailure=yes", "-R", f"{tmp_path}/sock:127.0.0.1:1")
    assert done.returncode == 255
    assert not (tmp_path / "sock").exists()
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        listener.bind(str(tmp_path / "there"))
        listener.listen()
        port = free_port()
        with forwarding(config, "-L", f"127.0.0.1:{port}:{tmp_path}/there"), connect(port) as sock:
            assert sock.recv(1) == b""


def test_the_pattern_of_vs_code_remote(config: Path, service: int, tmp_path: Path) -> None:
    """`ssh -T -D PORT HOST bash`, a script on standard input, then connections to a port there."""
    port = free_port()
    client = subprocess.Popen(
        ["ssh", "-F", config, "-v", "-T", "-D", f"127.0.0.1:{port}", "shell", "bash"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert client.stdin is not None
    assert client.stdout is not None
    try:
        client.stdin.write(f"uname -s; echo listeningOn=={service}==\n".encode())
        client.stdin.flush()
        assert client.stdout.readline() == b"Linux\n"
        assert client.stdout.readline() == f"listeningOn=={service}==\n".encode()
        for _ in range(5):
            with connect(port) as sock:
                sock.sendall(b"\x05\x01\x00")
                assert sock.recv(2) == b"\x05\x00"
                sock.sendall(b"\x05\x01\x00\x01\x7f\0\0\x01" + service.to_bytes(2, "big"))
                assert sock.recv(10)[:2] == b"\x05\x00"
                assert exchange(sock, b"GET") == b"<GET>"
    finally:
        client.communicate(timeout=30)
    assert client.returncode == 0
