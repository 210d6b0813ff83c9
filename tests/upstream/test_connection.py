"""The gateway's SSH connection to a shell: what is held back comes all the same, in order."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity, Method
from stagedoor.model.target import Target
from stagedoor.net.ssh_agent import AgentError, AgentKey
from stagedoor.upstream.command import run_command
from stagedoor.upstream.connection import (
    CONGESTED_BYTES,
    ProtocolError,
    ShellConnection,
    explain_hang_up,
)
from stagedoor.upstream.login import GatewayLogin, ShellAccount
from tests.waiting import BOUND_S, until

KIB = 1024
MIB = 1024 * KIB
SENT = 12 * MIB
BLOCK = bytes(range(256)) * 256


async def digest(process: "asyncssh.SSHServerProcess[bytes]") -> None:
    """Say what came, once it has ended; `slow` begins to read on request."""
    checksum = hashlib.sha256()
    while data := await process.stdin.read(64 * KIB):
        checksum.update(data)
    process.stdout.write(checksum.hexdigest().encode())
    process.exit(0)


async def options_of_dev() -> asyncssh.SSHClientConnectionOptions:
    return await asyncssh.SSHClientConnectionOptions.construct(
        host="shell",
        config=None,
        username="dev",
        known_hosts=None,
        client_keys=None,
        agent_path=None,
    )


@asynccontextmanager
async def shell(**options: Any) -> AsyncIterator[tuple[ShellConnection, list[Any]]]:
    """A connection to a shell, and the shell's own ends of such."""
    ends: list[Any] = []

    class Server(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            ends.append(conn)

        def begin_auth(self, username: str) -> bool:
            return False

    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Server,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=digest,
        encoding=None,
        **options,
    )
    sock = socket.create_connection(("127.0.0.1", server.get_port()))
    sock.setblocking(False)
    connection = await ShellConnection.connect(sock, await options_of_dev(), Target("app01"))
    assert not isinstance(connection, Denial)
    try:
        yield connection, ends
    finally:
        connection.abort()
        await connection.wait_closed()
        for end in ends:
            end.abort()
        server.close()
        await server.wait_closed()


async def pour(process: "asyncssh.SSHClientProcess[bytes]") -> str:
    checksum = hashlib.sha256()
    for _ in range(SENT // len(BLOCK)):
        process.stdin.write(BLOCK)
        checksum.update(BLOCK)
        await process.stdin.drain()
    process.stdin.write_eof()
    return checksum.hexdigest()


def run(story: Any) -> None:
    asyncio.run(asyncio.wait_for(story(), BOUND_S))


def test_what_is_sent_while_keys_are_renewed_comes_whole() -> None:
    async def story() -> None:
        async with shell(rekey_bytes=256 * KIB) as (connection, _):
            process = await connection.create_process("x", encoding=None)
            expected = await pour(process)
            assert (await process.stdout.read()).decode() == expected

    run(story)


def test_a_shell_that_does_not_read_is_not_sent_more_whatever_its_window() -> None:
    async def story() -> None:
        async with shell(window=1 << 30) as (connection, ends):
            process = await connection.create_process("x", encoding=None)
            (end,) = ends
            end._transport.pause_reading()
            pouring = asyncio.create_task(pour(process))
            assert connection._tcp is not None
            await until(lambda: connection._holds)
            for _ in range(50):
                await asyncio.sleep(0)
            assert not pouring.done()
            assert connection._tcp.get_write_buffer_size() < 2 * CONGESTED_BYTES
            end._transport.resume_reading()
            expected = await pouring
            assert (await process.stdout.read()).decode() == expected

    run(story)


def test_a_command_returns_what_it_printed_and_how_it_ended() -> None:
    async def story() -> None:
        async with shell() as (connection, _):
            running = asyncio.create_task(run_command(connection, "x", 1000))
            await until(lambda: connection._channels)
            (channel,) = connection._channels.values()
            await until(lambda: channel._send_state == "open" and channel._session is not None)
            channel.write_eof()
            done = await running
            assert (done.exit_status, done.too_long) == (0, False)
            assert done.output.decode() == hashlib.sha256(b"").hexdigest()

    run(story)


def test_the_message_for_a_shell_that_shares_no_key_exchange_says_what_to_offer() -> None:
    error = asyncssh.KeyExchangeFailed(
        "No matching key exchange algorithm found, sent x and received y"
    )
    upstream = GatewayLogin(lambda *_, **__: "", (), lambda target: ShellAccount(), lambda *_: None)
    denial = upstream._explain(error, "app01-ssh", Identity("dev", frozenset(), Method.PUBLIC_KEY))
    assert denial is not None
    assert "curve25519-sha256" in denial.message
    assert "KexAlgorithms" in denial.message
    assert "host key" not in denial.message
    assert denial.line == (
        "the shell app01-ssh and the gateway have no algorithm in common; ask an administrator"
    )


def test_an_agent_that_does_not_sign_is_named_in_the_audit_only(tmp_path: Path) -> None:
    with pytest.raises(AgentError) as raised:
        AgentKey(tmp_path / "agent", "ssh-ed25519 AAAA").sign(b"")
    upstream = GatewayLogin(lambda *_, **__: "", (), lambda target: ShellAccount(), lambda *_: None)
    identity = Identity("dev", frozenset(), Method.PUBLIC_KEY)
    denial = upstream._explain(raised.value, "app01-ssh", identity)
    assert denial is not None
    assert str(tmp_path) in denial.message
    assert denial.line == (
        "the gateway cannot log in to the shell app01-ssh: "
        "the gateway's user CA does not sign now; its log says why"
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (None, "the shell app01-ssh hung up"),
        (ConnectionResetError(), "the shell app01-ssh hung up"),
        (asyncssh.ConnectionLost("gone"), "the shell app01-ssh hung up"),
        (
            ProtocolError("it says too much"),
            "the shell app01-ssh broke the SSH protocol: it says too much",
        ),
        (
            asyncssh.DisconnectError(11, "bye\x1b[2J" + "x" * 300, "en"),
            "the shell app01-ssh hung up: bye\N{REPLACEMENT CHARACTER}[2J" + "x" * 192 + "…",
        ),
    ],
)
def test_how_a_connection_ended_is_one_line(error: Exception | None, line: str) -> None:
    assert explain_hang_up("app01-ssh", error) == line


async def test_a_refusal_is_read_although_writing_to_a_server_that_left_fails_first() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"Not allowed at this time\r\n")
    theirs.close()
    ours.setblocking(False)
    refusal = await ShellConnection.connect(ours, await options_of_dev(), Target("app01"))
    assert isinstance(refusal, Denial)
    assert "PerSourcePenaltyExemptList" in refusal.message
