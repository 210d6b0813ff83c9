"""Bulk data by the short way: nothing is lost, changed or let through, however it arrives."""

import asyncio
import hashlib
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncssh
import pytest

from stagedoor.wire.ssh.blob import encode_string
from tests.fixtures.laptop import Laptop
from tests.waiting import BOUND_S

MIB = 1 << 20
CIPHERS = [
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
]


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("rekey", ["RekeyLimit 1G", "RekeyLimit 2M"])
def test_bytes_go_each_way_unchanged_with_every_cipher(
    laptop: Laptop, cipher: str, rekey: str
) -> None:
    sent = os.urandom(9 * MIB + 7)
    config = laptop.config(f"Ciphers {cipher}", "MACs hmac-sha2-256-etm@openssh.com", rekey)
    done = laptop.ssh("-W", "echo.ssh:22", "gw", config=config, input=sent)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(sent).digest()


class Slices:
    """A transport whose writes are cut into pieces of `size`, so that packets arrive in parts."""

    def __init__(self, transport: asyncio.Transport, size: int) -> None:
        self._transport = transport
        self._size = size

    def write(self, data: bytes) -> None:
        for at in range(0, len(data), self._size):
            self._transport.write(data[at : at + self._size])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


@pytest.fixture
async def client(laptop: Laptop) -> AsyncIterator[asyncssh.SSHClientConnection]:
    async with asyncssh.connect(
        "127.0.0.1", laptop.port, username="dev", client_keys=[str(laptop.key)], known_hosts=None,
        config=None, encryption_algs=["aes128-gcm@openssh.com"],
    ) as conn:  # fmt: skip
        yield conn


@pytest.mark.parametrize("size", [1, 3, 17, 4099])
async def test_packets_that_arrive_in_parts_are_put_together(
    client: asyncssh.SSHClientConnection, size: int
) -> None:
    client._transport = Slices(client._transport, size)  # type: ignore[assignment, arg-type]
    sent = os.urandom(40 * size + 100)
    async with asyncio.timeout(BOUND_S):
        reader, writer = await client.open_connection("echo.ssh", 22, encoding=None)
        writer.write(sent)
        writer.write_eof()
        assert await reader.read() == sent


async def test_other_packets_between_the_data_are_heeded_and_keep_their_place(
    client: asyncssh.SSHClientConnection,
) -> None:
    async with asyncio.timeout(BOUND_S):
        reader, writer = await client.open_connection("echo.ssh", 22, encoding=None)
        pieces = [os.urandom(1000) for _ in range(50)]
        for number, piece in enumerate(pieces):
            writer.write(piece)
            client.send_packet(
                4, b"\0" + encode_string(b"a word between") + encode_string(b"")
            )  # DEBUG
            if number % 10 == 0:
                client.send_packet(80, encode_string(b"nobody@example.com") + b"\0")
        writer.write_eof()
        assert await reader.read() == b"".join(pieces)
        assert "app01.ssh" in str((await client.run("ls")).stdout)


def _data(channel: int, said: int, sent: bytes) -> tuple[int, bytes]:
    return 94, channel.to_bytes(4, "big") + said.to_bytes(4, "big") + sent


WRONG: dict[str, Callable[[int], tuple[int, bytes]]] = {
    "for a channel that is not there": lambda channel: _data(channel + 7, 3, b"abc"),
    "shorter than it says": lambda channel: _data(channel, 4, b"abc"),
    "longer than it says": lambda channel: _data(channel, 2, b"abc"),
    "cut in its head": lambda channel: (94, channel.to_bytes(4, "big") + b"\0"),
    "beyond the window": lambda channel: _data(channel, 3 * MIB // 16, bytes(3 * MIB // 16)),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_data_that_is_not_in_order_ends_the_connection_as_the_protocol_wants(
    laptop: Laptop, client: asyncssh.SSHClientConnection, wrong: str
) -> None:
    async with asyncio.timeout(BOUND_S):
        _, writer = await client.open_connection("echo.ssh", 22, encoding=None)
        channel = writer.channel._send_chan
        for _ in range(120):  # what comes back is not read, so that the window is used up
            client.send_packet(*WRONG[wrong](channel))
        with pytest.raises((asyncssh.Error, OSError)):
            await client.run("ls", check=True)
        await client.wait_closed()
    assert laptop.ssh("gw", "ls").returncode == 0  # and no other client's


async def test_a_packet_that_was_changed_on_the_way_ends_the_connection(
    laptop: Laptop, client: asyncssh.SSHClientConnection
) -> None:
    async with asyncio.timeout(BOUND_S):
        reader, writer = await client.open_connection("echo.ssh", 22, encoding=None)
        writer.write(b"as it was")
        assert await reader.readexactly(9) == b"as it was"
        transport = client._transport
        assert transport is not None

        class Changed(Slices):
            def write(self, data: bytes) -> None:
                transport.write(data[:20] + bytes((data[20] ^ 1,)) + data[21:])

        client._transport = Changed(transport, 0)  # type: ignore[assignment]  # an attacker
        writer.write(b"as it was not")
        await client.wait_closed()
    assert laptop.ssh("gw", "ls").returncode == 0


async def test_nothing_is_sent_beyond_the_clients_window(
    client: asyncssh.SSHClientConnection,
) -> None:
    async with asyncio.timeout(BOUND_S):
        reader, writer = await client.open_connection(
            "echo.ssh", 22, encoding=None, window=5000, max_pktsize=700
        )
        sent = os.urandom(300_000)
        writer.write(sent)
        writer.write_eof()
        # asyncssh's client ends the connection at one byte too many, or a packet too long.
        assert await reader.read() == sent


def test_no_empty_packet_goes_before_each(laptop: Laptop) -> None:
    done = subprocess.run(
        ["ssh", "-vvv", "-F", laptop.config(), "-W", "echo.ssh:22", "gw"],
        input=os.urandom(100_000), capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert b"IGNORE" not in done.stderr
