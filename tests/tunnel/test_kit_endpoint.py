"""The kit's endpoint passes the tests of the one in Python, and others: any pod might reach its port."""

import asyncio
import os
import random
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from stagedoor.net import aio
from stagedoor.resume.messages import GREETING
from stagedoor.resume.requests import SessionRequest, StreamTicket
from stagedoor.wire.tunnel.frames import HELLO, OPEN, encode
from stagedoor.wire.tunnel.stream import WINDOW
from tests.tunnel.kit_control import KitControl, KitEndpoint
from tests.tunnel.test_endpoint import (
    KEY,
    LINKS,
    PATIENCE_S,
    Watched,
    entered,
    open_session,
    opened,
    returned,
    sshd,
    talking,
    test_a_client_that_leaves_ends_the_session,
    test_a_client_that_stays_away_loses_the_session,
    test_a_fault_ends_the_connection_and_not_the_session,
    test_a_key_opens_one_session,
    test_a_session_goes_on_over_another_connection,
    test_a_session_that_moves_no_byte_ends,
    test_a_shell_s_last_output_arrives_though_it_reads_no_more,
    test_a_stranger_gets_no_ticket_and_learns_nothing,
    test_a_ticket_is_good_for_one_connection,
    test_an_older_connection_cannot_displace_a_newer_one,
    test_bytes_on_their_way_survive_the_cut,
    test_each_direction_ends_by_itself_and_then_the_session,
    test_the_gateway_ends_a_session_and_the_client_reads_why,
    test_the_gateway_ends_a_session_whose_client_is_away,
)
from tests.tunnel.test_hostile import some_frame

__all__ = [
    "test_a_client_that_leaves_ends_the_session",
    "test_a_client_that_stays_away_loses_the_session",
    "test_a_fault_ends_the_connection_and_not_the_session",
    "test_a_key_opens_one_session",
    "test_a_session_goes_on_over_another_connection",
    "test_a_session_that_moves_no_byte_ends",
    "test_a_shell_s_last_output_arrives_though_it_reads_no_more",
    "test_a_stranger_gets_no_ticket_and_learns_nothing",
    "test_a_ticket_is_good_for_one_connection",
    "test_an_older_connection_cannot_displace_a_newer_one",
    "test_bytes_on_their_way_survive_the_cut",
    "test_each_direction_ends_by_itself_and_then_the_session",
    "test_the_gateway_ends_a_session_and_the_client_reads_why",
    "test_the_gateway_ends_a_session_whose_client_is_away",
]

MAX_AWAY = 64
MAX_LINKS = 64


@pytest.fixture
def endpoint(endpoint_program: Path, tmp_path: Path) -> KitEndpoint:
    return KitEndpoint(endpoint_program, tmp_path / "tunnels")


@pytest.fixture
async def control(endpoint: KitEndpoint) -> AsyncIterator[KitControl]:
    control = KitControl(endpoint)
    yield control
    while LINKS:
        LINKS.pop().abort()
    await control.stop()
    await asyncio.to_thread(endpoint.stop)


async def test_the_folder_is_for_the_endpoint_alone(control: Any, endpoint: KitEndpoint) -> None:
    async with sshd() as (connect, _):
        await opened(control, await connect())
        assert endpoint.folder.stat().st_mode & 0o777 == 0o700


async def test_a_gateway_that_dies_leaves_its_sessions_to_another(
    control: Any, endpoint: KitEndpoint
) -> None:
    async with talking(control) as client:
        await control.stop()
        client.cut()
        other = KitControl(endpoint)
        await returned(other, client, 1)
        await client.says(b"y", b"Y")
        await other.stop()


async def test_a_later_request_replaces_an_unused_ticket(control: Any) -> None:
    late = Watched()
    async with talking(control) as client:
        shell = await control.connected()
        first = await shell.ask("back", f"{KEY} 1 alice app01.ssh", late)
        assert isinstance(first, StreamTicket)
        assert first.earlier.counts is None, "a shell's developer can say what they like"
        client.cut()
        await returned(control, client, 2)
        assert await late.news.get() == "moved"
        stale = await control.connect_data(first.secret)
        async with asyncio.timeout(PATIENCE_S):
            assert await aio.read(stale, 10) == b""
        stale.close()
        await client.says(b"y", b"Y")


async def test_a_ticket_is_good_for_ten_seconds(control: Any, endpoint: KitEndpoint) -> None:
    async with talking(control) as client:
        shell = await control.connected()
        ticket = await shell.ask("back", f"{KEY} 1 alice app01.ssh", Watched())
        assert isinstance(ticket, StreamTicket)
        endpoint.pass_time(signal.SIGUSR1)
        stale = await control.connect_data(ticket.secret)
        async with asyncio.timeout(PATIENCE_S):
            assert await aio.read(stale, 10) == b""
        stale.close()
        await client.says(b"y", b"Y")


async def test_a_silent_connection_is_cut_after_ten_seconds(
    control: Any, endpoint: KitEndpoint
) -> None:
    async with talking(control) as client:
        loop = asyncio.get_running_loop()
        with socket.create_connection(("127.0.0.1", endpoint.port)) as stranger:
            stranger.setblocking(False)
            await client.says(b"y", b"Y")
            endpoint.pass_time(signal.SIGUSR1)
            async with asyncio.timeout(PATIENCE_S):
                assert await loop.sock_recv(stranger, 10) == b""
        await client.says(b"z", b"Z")


@pytest.mark.continuity(8)
async def test_a_session_without_a_gateway_ends_after_two_minutes(
    control: Any, endpoint: KitEndpoint
) -> None:
    async with sshd() as (connect, events):
        client = await opened(control, await connect())
        await client.says(b"x", b"X")
        await control.stop()
        endpoint.pass_time(signal.SIGUSR1)
        client.stream.take(b"y")
        await client.hears(b"Y")
        endpoint.pass_time(signal.SIGUSR2)
        async with asyncio.timeout(PATIENCE_S):
            while client.stream.ended is None:
                assert await client.turn()
            assert client.stream.ended == (1, "its gateway has ended")
            assert await events.get() == "hung up"


@pytest.mark.continuity(8)
async def test_a_gateway_whose_machine_has_died_is_noticed_by_its_silence(
    control: Any, endpoint: KitEndpoint
) -> None:
    watcher = Watched()
    async with talking(control, watcher) as client:
        endpoint.pass_time(signal.SIGUSR2)
        async with asyncio.timeout(PATIENCE_S):
            assert (await watcher.news.get())[0] == 1  # type: ignore[index]
        client.cut()
        await returned(control, client, 1)
        await client.says(b"y", b"Y")


async def test_one_more_waiting_session_of_an_owner_ends_the_oldest(control: Any) -> None:
    watchers = [Watched() for _ in range(MAX_AWAY + 1)]
    async with sshd() as (connect, events):
        shell = await connect()
        for number, watcher in enumerate(watchers):
            key = f"{number:032x}"
            kept = SessionRequest(f"s{number}", "alice app01.ssh", "-", 60.0)
            ticket = await control.open(key, kept, shell, watcher)
            assert isinstance(ticket, StreamTicket)
            (await control.connect_data(ticket.secret)).abort()
            if number == MAX_AWAY:
                break
            shell = await connect()
        async with asyncio.timeout(PATIENCE_S):
            assert await watchers[0].news.get() == (3, "more than 64 sessions wait")
            assert await events.get() == "hung up"
        assert all(watcher.news.empty() for watcher in watchers[1:])


@pytest.mark.continuity(10)
async def test_a_client_that_reads_nothing_holds_up_its_program_and_costs_a_window(
    control: Any, endpoint: KitEndpoint
) -> None:
    async with talking(control) as client:
        before = endpoint.private_memory()
        client.cut()
        client.stream.take(b"y" * WINDOW)
        await returned(control, client, 1)
        await client.flush()
        client.stream.take(b"z")  # for the answer to all before it
        async with asyncio.timeout(PATIENCE_S):
            while client.stream.unacknowledged > 1:
                assert await client.turn()
        assert endpoint.private_memory() - before <= 4 * 1024 * 1024 + 64 * 1024 + 256 * 1024


@pytest.mark.continuity(10)
async def test_a_long_session_of_few_bytes_costs_no_window(
    control: Any, endpoint: KitEndpoint
) -> None:
    async with talking(control) as client:
        before = endpoint.private_memory()
        for _ in range(200):
            await client.says(b"y" * 5000, b"Y" * 5000)
        client.now += 1.0
        await client.flush()  # the last ACK
        async with asyncio.timeout(PATIENCE_S):
            # A window is 4 MiB; the sanitizers of Debian 13's gcc keep almost half a MiB for themselves.
            while endpoint.private_memory() - before > 512 * 1024:
                await asyncio.sleep(0.1)


async def test_silent_strangers_take_no_place_from_a_ticket(
    control: Any, endpoint: KitEndpoint
) -> None:
    async with talking(control) as client:
        strangers = [
            socket.create_connection(("127.0.0.1", endpoint.port)) for _ in range(3 * MAX_LINKS)
        ]
        client.cut()
        await returned(control, client, 1)
        await client.says(b"y", b"Y")
        for stranger in strangers:
            stranger.close()


@pytest.mark.continuity(9)
@pytest.mark.parametrize(
    "first",
    [encode(OPEN, 0, bytes(32)), encode(HELLO, 0, b"\x01"), b"\xff" * 45, b"SSH-2.0-x\r\n" * 9],
)
async def test_a_connection_without_a_ticket_is_cut_at_once(
    control: Any, endpoint: KitEndpoint, first: bytes
) -> None:
    async with entered(control) as client:
        loop = asyncio.get_running_loop()
        with socket.create_connection(("127.0.0.1", endpoint.port)) as stranger:
            stranger.setblocking(False)
            await loop.sock_sendall(stranger, first.ljust(45, b"\0"))
            async with asyncio.timeout(PATIENCE_S):
                with suppress(ConnectionResetError):  # it had not read all
                    assert await loop.sock_recv(stranger, 10) == b""
        await client.says(b"x", b"X")


def some_line(chance: random.Random) -> bytes:
    """Return a line that a gateway would not write, or would, or nearly."""
    key = chance.choice((KEY, "0" * 32, "F" * 32, "", "x" * 33, "0" * 31))
    number = chance.choice((0, 1, 7, -1, 2**64, 10**30))
    words = chance.choice(
        (
            f"open {number} {key} s1 60 0 - alice app01.ssh",
            f"open {number} {key} {'s' * chance.choice((0, 64, 65, 999))} 60 0 - alice app01.ssh",
            f"open {number} {key} s1 {chance.choice(('nan', '-1', '1e300', '', '0'))} 0 - alice",
            f"limit {number} {chance.choice(('nan', '-1', '1e300', '', '0'))}",
            f"back {number} {key} {chance.choice((1, 2, -5, 10**30))} alice app01.ssh",
            f"end {number} {'why ' * chance.randrange(200)}",
            "open",
            "open 1",
            "back 1 ",
            "",
            " " * 1000,
            GREETING,
            "x" * chance.choice((1, 4094, 4095, 4096, 20_000)),
        )
    )
    line = bytearray(words.encode() + b"\n")
    if chance.random() < 0.3:
        line[chance.randrange(len(line))] = chance.randrange(256)
    return bytes(line)


@pytest.mark.continuity(16)
@pytest.mark.parametrize("seed", range(3))
async def test_hostile_gateways_and_pods_end_their_own_connections_only(
    control: Any, endpoint: KitEndpoint, seed: int
) -> None:
    chance = random.Random(seed)
    address = str(endpoint.address)
    async with talking(control) as client:
        for _ in range(200):
            if chance.random() < 0.5:
                hostile = socket.socket(socket.AF_UNIX)
                hostile.connect(address)
                data = f"{GREETING}\n".encode() if chance.random() < 0.9 else b""
                for _ in range(chance.randrange(8)):
                    line = some_line(chance)
                    # A session's own key with its own owner's name would be no attack.
                    data += line if KEY.encode() not in line else b"\n"
            else:
                hostile = socket.create_connection(("127.0.0.1", endpoint.port))
                data = encode(OPEN, 0, os.urandom(32)) + chance.randbytes(chance.randrange(100))
                data = data[: chance.randrange(len(data))]
            with hostile, suppress(OSError):
                hostile.sendall(data)
                if chance.random() < 0.5:
                    hostile.settimeout(0.01)
                    hostile.recv(4096)
        await client.says(b"y", b"Y")


@pytest.mark.continuity(16)
@pytest.mark.parametrize("seed", range(3))
async def test_hostile_clients_end_their_own_sessions_only(control: Any, seed: int) -> None:
    chance = random.Random(seed)
    async with sshd() as (connect, _):
        client = await opened(control, await connect())
        await client.says(b"x", b"X")
        for number in range(40):
            kept = SessionRequest(f"s{number}", "mallory app01.ssh", "-", 60.0)
            ticket = await control.open(f"{number:032x}", kept, await connect(), Watched())
            assert isinstance(ticket, StreamTicket)
            link = await control.connect_data(ticket.secret)
            data = encode(HELLO, 0, b"\x01") if chance.random() < 0.8 else b""
            for _ in range(chance.randrange(20)):
                data += chance.choice((some_frame(chance, 0, 0), chance.randbytes(30)))
            with suppress(OSError):
                await aio.write_all(link, data)
            link.abort()
        await client.says(b"y", b"Y")


async def test_a_limit_that_changes_holds_for_a_session_that_is_open(control: Any) -> None:
    watcher = Watched()
    async with sshd() as (connect, _):
        ticket = await open_session(control, await connect(), watcher)
        (await control.connect_data(ticket.secret)).abort()
        control.set_limit(ticket.number, 0.0)
        async with asyncio.timeout(PATIENCE_S):
            assert await watcher.news.get() == (3, "no client came back within 0 s")
