"""The messages of a hand-over, and the two ends without processes of their own."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor import __version__
from stagedoor.model.errors import StagedoorError
from stagedoor.net.listen import bind
from stagedoor.serve.supervisor import handover, predecessor
from stagedoor.serve.supervisor import successor as successor_module
from stagedoor.serve.supervisor.control import MetricsMessage
from stagedoor.serve.supervisor.handover import (
    VARIABLE,
    GatewayStop,
    HandoverChannel,
    HandoverOffer,
    Hello,
    Message,
    OldMetrics,
    OldSessions,
    Progress,
    Refusal,
    SuccessorReady,
    Transfer,
)
from stagedoor.serve.supervisor.old_gateways import OldGateways
from stagedoor.serve.supervisor.predecessor import Predecessor
from stagedoor.serve.supervisor.successor import Successor
from stagedoor.store import schema

SOCKETS = st.lists(
    st.tuples(st.text(), st.text(), st.integers(0, 99), st.lists(st.integers(0)).map(tuple))
).map(tuple)
NUMBERS = st.integers(0)
MESSAGES = st.one_of(
    st.builds(
        HandoverOffer,
        *(NUMBERS, st.text(), NUMBERS, NUMBERS, SOCKETS),
        st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS)).map(tuple),
    ),
    st.builds(Hello, NUMBERS, st.text(), NUMBERS, st.text()),
    st.builds(Progress, st.text()),
    st.builds(SuccessorReady, st.text()),
    st.builds(Refusal, st.text()),
    st.builds(Transfer, st.lists(st.tuples(NUMBERS, st.binary())).map(tuple)),
    st.builds(OldSessions, NUMBERS),
    st.builds(OldMetrics, st.text(), st.none() | st.builds(MetricsMessage)),
    st.builds(GatewayStop),
)
SCHEMA = schema.SCHEMA_VERSION


@contextlib.asynccontextmanager
async def channels() -> AsyncIterator[tuple[HandoverChannel, HandoverChannel]]:
    one, other = [await HandoverChannel.open(sock) for sock in socket.socketpair()]
    yield one, other
    await one.close_stream()
    await other.close_stream()


@given(st.lists(MESSAGES))
def test_messages_arrive_as_they_were_sent(messages: list[Message]) -> None:
    async def drive() -> None:
        async with channels() as (one, other):
            for message in messages:
                one.send(message)
            one.end()
            received = []
            while (message := await other.receive()) is not None:
                received.append(message)
            assert received == messages
            assert other.is_ended

    asyncio.run(drive())


@given(st.binary())
def test_what_is_no_message_is_skipped_or_ends_the_stream(noise: bytes) -> None:
    async def drive() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            channel = await HandoverChannel.open(ours)
            theirs.sendall(noise + b"\n")
            theirs.shutdown(socket.SHUT_WR)
            while await channel.receive() is not None:
                pass
            await channel.close_stream()

    asyncio.run(drive())


async def test_a_message_of_a_later_version_is_skipped() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        channel = await HandoverChannel.open(ours)
        theirs.sendall(b'{"type":"telepathy"}\n{"type":"transfer","and":"more"}\n')
        assert await channel.receive() == Transfer()
        await channel.close_stream()


@contextlib.asynccontextmanager
async def offered(
    monkeypatch: pytest.MonkeyPatch, offer: HandoverOffer
) -> AsyncIterator[HandoverChannel]:
    """Yield the old end of a stream to a program that is to take over."""
    ours, theirs = socket.socketpair()
    monkeypatch.setenv(VARIABLE, str(theirs.detach()))
    channel = await HandoverChannel.open(ours)
    channel.send(offer)
    yield channel
    await channel.close_stream()


@pytest.mark.continuity(2)
async def test_a_predecessor_of_a_version_that_is_not_understood_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with offered(monkeypatch, HandoverOffer(99, "7.0", 1, SCHEMA, ())) as old:
        with pytest.raises(
            StagedoorError, match=r"cannot take over from 7\.0; restart the gateway"
        ):
            await Predecessor.connect()
        assert isinstance(await old.receive(), Hello)
        assert isinstance(await old.receive(), Refusal)
        assert VARIABLE not in os.environ


@pytest.mark.continuity(2)
async def test_a_store_that_the_predecessor_could_not_use_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its sessions would have no store: program and store of version 10 know no `compatible_version` 11."""
    for known, may in ((10, False), (SCHEMA, True), (SCHEMA + 1, True)):
        async with offered(monkeypatch, HandoverOffer(handover.VERSION, "7.0", 1, known, ())):
            before = await Predecessor.connect()
            assert before is not None
            if may:
                before.check_store()
            else:
                with pytest.raises(StagedoorError, match="needs schema 11"):
                    before.check_store()
            await before._channel.close_stream()


async def test_nothing_is_taken_over_without_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert await Predecessor.connect() is None
    predecessor.detach()  # returns
    monkeypatch.setenv(VARIABLE, "no number")
    with pytest.raises(StagedoorError, match="names no socket"):
        await Predecessor.connect()


async def test_the_sockets_arrive_with_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    listening = bind("127.0.0.1", 0)
    fds = tuple(os.dup(fd) for fd in listening.list_descriptors())
    offer = HandoverOffer(handover.VERSION, "7.0", 1, SCHEMA, (("ssh", "127.0.0.1:0", 1, fds),))
    async with offered(monkeypatch, offer):
        before = await Predecessor.connect()
        assert before is not None
        sockets = before.adopt_sockets()
        assert sockets["ssh", "127.0.0.1:0", 1].list_addresses() == listening.list_addresses()
        assert not any(os.get_inheritable(fd) for fd in fds), "no shell may have them"
        sockets["ssh", "127.0.0.1:0", 1].close_sockets()
        await before._channel.close_stream()
    listening.close_sockets()


@pytest.mark.continuity(2)
async def test_a_program_that_hangs_is_killed_at_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    successor = await Successor.start(("sleep", "3600"), {})
    with pytest.raises(StagedoorError, match=r"was not ready after 0\.1 s, while it was starting"):
        await successor.wait_until_ready(lambda _: None, within_s=0.1)
    monkeypatch.setattr(successor_module, "END_WITHIN_S", 0.1)
    await successor.end()
    assert await successor._process.wait() == -signal.SIGKILL


@pytest.mark.continuity(2)
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit(7)", "the new program ended with code 7 while it was starting"),
        ("", "the new program ended while it was starting"),
    ],
)
async def test_a_program_that_ends_is_reported_with_its_code(code: str, message: str) -> None:
    successor = await Successor.start((sys.executable, "-c", code), {})
    with pytest.raises(StagedoorError, match=message):
        await successor.wait_until_ready(lambda _: None)
    await successor.end()


async def test_a_program_that_is_missing_is_reported() -> None:
    with pytest.raises(StagedoorError, match="cannot be started: No such file"):
        await Successor.start(("/nonexistent/stagedoor",), {})


async def test_a_successor_of_a_version_that_is_not_understood_is_refused() -> None:
    code = (
        "import os, socket; s = socket.socket(fileno=int(os.environ['STAGEDOOR_HANDOVER'])); "
        'line = b\'{"type":"hello","version":99,"program":"9.0","pid":%d}\\n\' % os.getpid(); '
        "s.sendall(line); s.recv(1 << 20); s.recv(1)"
    )
    successor = await Successor.start((sys.executable, "-c", code), {})
    with pytest.raises(StagedoorError, match=r"cannot hand over to 9\.0; restart the gateway"):
        await successor.wait_until_ready(lambda _: None)
    await successor.end()


async def settle() -> None:
    """Let all that was sent arrive."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.continuity(3)
async def test_the_stream_of_an_older_gateway_passes_on_at_any_byte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The gateway in the middle has read half a message, and can end."""
    measured = MetricsMessage()
    got: list[tuple[str, MetricsMessage | None]] = []
    middle, newest = OldGateways(lambda *_: None), OldGateways(lambda *it: got.append(it))
    first, inherited = socket.socketpair()
    number = os.dup(inherited.fileno())  # as the new process has it
    middle.add(await HandoverChannel.open(inherited), 11, handover.VERSION)
    text = b"".join(
        msgspec.json.encode(message) + b"\n"
        for message in (OldSessions(3), OldMetrics("2", measured), OldSessions(4))
    )
    first.sendall(text[:30])
    await settle()
    assert (middle.sessions, middle.list_streams()[0][1:]) == (3, (11, handover.VERSION))
    offer = HandoverOffer(
        *(handover.VERSION, "7.0", 12, SCHEMA, ()), older=((number, 11, handover.VERSION),)
    )
    async with offered(monkeypatch, offer) as old:
        before = await Predecessor.connect()
        assert before is not None
        watching = asyncio.create_task(before.watch(lambda: None))
        old.send(Transfer(await middle.pass_on()))
        assert await before.take_over("digest", newest)
        await watching
        assert middle.sessions == 0
        assert newest.sessions == 3
        first.sendall(text[30:])
        old.send(OldMetrics("1", None))
        old.send(OldMetrics("11:7", measured))  # as the one in the middle had it
        old.send(OldMetrics("9:3", measured))  # of one that has ended
        await settle()
        assert newest.sessions == 4
        assert sorted(got) == [("11:2", measured), ("11:7", measured), ("12:1", None)]
        newest.stop()
        await settle()
        said = [msgspec.json.decode(line, type=Message) for line in first.recv(1000).splitlines()]
        greeting = Hello(handover.VERSION, __version__, os.getpid(), "digest")
        assert said == [greeting, GatewayStop()]
        said = [await old.receive() for _ in range(4)]
        assert said[1:] == [SuccessorReady("digest"), greeting, GatewayStop()]
        old.end()
        first.close()
        await newest.wait()
        assert newest.sessions == 0
        assert sorted(got[-2:]) == [("11:2", None), ("11:7", None)]
        await newest.pass_on()
        await settle()


def test_a_version_that_older_programs_cannot_use_is_found_in_the_steps() -> None:
    assert schema.find_compatible_version(0) == 11
    assert schema.find_compatible_version(SCHEMA) == 0


def test_a_line_is_bounded() -> None:
    most = tuple(("tunnel-tls", "[2001:db8::1]:65535", slot, (slot, slot)) for slot in range(2560))
    assert len(msgspec.json.encode(HandoverOffer(1, "0.2.0", 1, 1, most))) < handover.LINE_BYTES


@pytest.mark.continuity(3)
async def test_the_end_of_a_predecessor_before_the_hand_over_is_noticed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost: list[bool] = []
    async with offered(monkeypatch, HandoverOffer(handover.VERSION, "7.0", 1, SCHEMA, ())) as old:
        before = await Predecessor.connect()
        assert before is not None
        old.end()
        await before.watch(lambda: lost.append(True))
        assert lost == [True]
        assert not await before.take_over("digest", OldGateways(lambda *_: None))
        await before._channel.close_stream()
