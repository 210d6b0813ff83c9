"""Tunnels at a shell's endpoint: one login for all of an owner's; and shells that have none, or lie."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import asyncssh
import pytest

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.session import AccessMethod, Counts, OpenedSession, ReadyShell, ResumedSession
from stagedoor.model.shell import Shell
from stagedoor.model.target import Target
from stagedoor.net.dial import Dialer
from stagedoor.relay.ports import Stream
from stagedoor.resume import requests
from stagedoor.resume.messages import GREETING, LOST
from stagedoor.resume.requests import SessionRequest, StreamTicket
from stagedoor.upstream import shell_endpoint
from stagedoor.upstream.connection import ShellConnection
from stagedoor.upstream.shell_endpoint import SOCKET, ShellEndpoints
from stagedoor.wire.tunnel.frames import OPEN, encode
from tests.session.stages import GRANT, SOURCE
from tests.upstream.test_connection import options_of_dev
from tests.waiting import BOUND_S

KEY = "0123456789abcdef" * 2
TICKET = bytes(range(32))
Reader = asyncssh.SSHReader[bytes]
Writer = asyncssh.SSHWriter[bytes]
Manner = Callable[[Reader, Writer, "Pod"], Awaitable[None]]


class Watched:
    """A watcher that remembers what it heard."""

    def __init__(self) -> None:
        self.news: asyncio.Queue[object] = asyncio.Queue()

    def note_move(self) -> None:
        self.news.put_nowait("moved")

    def note_end(self, code: int, why: str, counts: Counts | None) -> None:
        assert counts is None, "a shell's developer can say what they like"
        self.news.put_nowait((code, why))


@dataclass
class Pod:
    """A shell with an sshd whose socket does as its `manner` says, and the port beside it.

    Without a manner there is no socket.
    """

    manner: Manner | None
    logins: int = 0
    sockets: list[str] = field(default_factory=list)
    heard: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    writers: list[Writer] = field(default_factory=list)
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)
    shown: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    required: list[bool] = field(default_factory=list)
    """For each connection to that port, whether its tunnel requires it."""
    is_open: bool = True
    """Whether the endpoint's port is open to the gateway."""

    async def serve(self, reader: Reader, writer: Writer) -> None:
        self.writers.append(writer)
        assert self.manner is not None
        await self.manner(reader, writer, self)

    async def take_data(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.shown.put_nowait(await reader.read(45))
        writer.close()

    # For `ShellEndpoints`.

    async def connect(
        self, stream: Any, ready: ReadyShell, extensions: tuple[str, ...], client: object
    ) -> ShellConnection:
        self.logins += 1
        assert extensions == ("permit-port-forwarding",)
        return await ShellConnection.connect(
            stream.detach(), await options_of_dev(), ready.grant.target
        )

    async def dial_endpoint(self, shell: Shell, *, is_required: bool) -> Stream | Denial:
        self.required.append(is_required)
        if not self.is_open:
            return Denial(Reason.UPSTREAM_REFUSED, "refused")
        assert shell.resume_port is not None
        return await Dialer().dial((SOURCE.address,), shell.resume_port, BOUND_S)


HELLO = f"{GREETING}\n".encode()


async def honest(reader: Reader, writer: Writer, pod: Pod) -> None:
    writer.write(HELLO)
    await answer(reader, writer, pod)


async def answer(reader: Reader, writer: Writer, pod: Pod) -> None:
    assert await reader.readline() == HELLO
    while line := await reader.readline():
        text = line.decode().rstrip("\n")
        pod.heard.put_nowait(text)
        word, number, *_ = f"{text} ".split(" ")
        if word in ("open", "back"):
            writer.write(f"ticket {number} {TICKET.hex()} s1 0 0 0.5\n".encode())


async def newer(reader: Reader, writer: Writer, pod: Pod) -> None:
    writer.write(b"stagedoor-resume 2\n")
    await answer(reader, writer, pod)


def says(*lines: bytes) -> Manner:
    async def lie(reader: Reader, writer: Writer, _: Pod) -> None:
        writer.write(b"".join(lines))
        await reader.read()

    return lie


LIES: dict[str, Manner | None] = {
    "an older kit": None,
    "nothing": says(),
    "another version": says(b"stagedoor-resume 0\n"),
    "a version that is none": says(b"stagedoor-resume one\n"),
    "no greeting": says(b"ticket 1 " + TICKET.hex().encode() + b"\n"),
    "no ticket": says(HELLO, b"ticket 1 zz\n"),
    "a short ticket": says(HELLO, b"ticket 1 00\n"),
    "no message": says(HELLO, b"welcome 1\n"),
    "no number": says(HELLO, b"ticket one\n"),
    "a huge number": says(HELLO, b"ticket " + b"9" * 5000 + b" 1\n"),
    "a line without an end": says(HELLO, b"x" * 100_000),
    "other bytes": says(HELLO, bytes(range(256)) * 10),
    "an end before the ticket": says(HELLO, b"over 1 1 0 0 why\n"),
    "a code that is none": says(HELLO, b"over 1 x 0 0 why\n"),
    "bytes that are none": says(HELLO, b"over 1 1 -1 0 why\n"),
    "no session": says(HELLO, b"ticket 1 " + TICKET.hex().encode() + b"\n"),
    "a time that is none": says(HELLO, b"ticket 1 " + TICKET.hex().encode() + b" s1 0 0 nan\n"),
    "an orphan": says(HELLO, b"orphan s1 0 0 1 note dev app01.ssh\n"),
}


@dataclass
class World:
    """A pod, and a worker's endpoints, which reach it."""

    pod: Pod
    endpoints: ShellEndpoints
    shell: Shell
    ssh_port: int
    streams: list[Stream] = field(default_factory=list)

    async def enter(
        self, attempt: int = 0, owner: str = "dev app01.ssh", watcher: Watched | None = None
    ) -> StreamTicket | Denial | None:
        ready, heard = ReadyShell(GRANT, self.shell), watcher or Watched()
        opened = OpenedSession("s1", 90.0, AccessMethod.CONNECT, SOURCE, ready)
        async with asyncio.timeout(BOUND_S):
            if attempt:
                return await self.endpoints.resume(ready, KEY, attempt, owner, heard)
            kept = SessionRequest("s1", owner, "-", 60.0)
            return await self.endpoints.open(opened, KEY, kept, heard)

    async def tunnel(self, attempt: int = 0, **how: Any) -> StreamTicket:
        ticket = await self.enter(attempt, **how)
        assert isinstance(ticket, StreamTicket)
        assert ticket.earlier == ResumedSession("s1", None, 0.5)
        stream = ticket.stream or await ticket.control.connect_data(ticket.secret)
        self.streams.append(stream)
        async with asyncio.timeout(BOUND_S):
            assert await self.pod.shown.get() == encode(OPEN, 0, TICKET)
        return ticket


@pytest.fixture
async def world() -> AsyncIterator[World]:
    pod = Pod(honest)

    class Server(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            pod.connections.append(conn)

        def begin_auth(self, username: str) -> bool:
            return False

        def unix_connection_requested(self, dest_path: str) -> Any:
            pod.sockets.append(dest_path)
            return pod.serve if pod.manner else False

    sshd = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Server,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        encoding=None,
    )
    data = await asyncio.start_server(pod.take_data, "127.0.0.1", 0)
    login: Any = pod

    async def dial(_: ReadyShell) -> Stream | Denial:
        return await Dialer().dial((SOURCE.address,), sshd.get_port(), BOUND_S)

    endpoints = ShellEndpoints(login, dial, pod.dial_endpoint, None)
    shell = Shell(
        Target("app01"),
        "127.0.0.1",
        sshd.get_port(),
        started_by_us=True,
        resume_port=data.sockets[0].getsockname()[1],
    )
    world = World(pod, endpoints, shell, sshd.get_port())
    yield world
    for stream in world.streams:
        stream.abort()
    for connection in pod.connections:
        connection.abort()
    sshd.close()
    data.close()
    await sshd.wait_closed()


async def test_a_tunnel_shows_the_ticket_that_a_login_got(world: World) -> None:
    await world.tunnel()
    assert world.pod.sockets == [SOCKET]
    assert await world.pod.heard.get() == f"open 1 {KEY} s1 60 0 - dev app01.ssh"
    await world.tunnel(3)
    assert await world.pod.heard.get() == f"back 2 {KEY} 3 dev app01.ssh"
    assert world.pod.required == [False, True]


async def test_all_tunnels_of_an_owner_share_a_login(world: World) -> None:
    await asyncio.gather(*(world.tunnel() for _ in range(5)))
    assert world.pod.logins == 1
    await world.tunnel(owner="other app01.ssh")
    assert world.pod.logins == 2


async def test_a_login_without_a_tunnel_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell_endpoint, "KEEP_UNUSED_S", 0.05)
    tunnel = await world.tunnel()
    tunnel.control.forget(tunnel.number)
    async with asyncio.timeout(BOUND_S):
        await world.pod.writers[0].wait_closed()
    await world.tunnel()
    assert world.pod.logins == 2


async def test_a_login_says_that_its_gateway_lives(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell_endpoint, "ALIVE_S", 0.05)
    await world.tunnel()
    async with asyncio.timeout(BOUND_S):
        while await world.pod.heard.get() != "alive":
            pass


async def test_an_end_reaches_the_endpoint_in_one_line(world: World) -> None:
    tunnel = await world.tunnel()
    await world.pod.heard.get()
    tunnel.control.end(tunnel.number, "removed\nopen 9 x")
    async with asyncio.timeout(BOUND_S):
        assert await world.pod.heard.get() == "end 1 removed open 9 x"


async def test_a_lost_login_ends_the_connections_of_its_tunnels(world: World) -> None:
    watcher = Watched()
    await world.tunnel(watcher=watcher)
    world.pod.connections[0].abort()
    async with asyncio.timeout(BOUND_S):
        code, _why = await watcher.news.get()  # type: ignore[misc]
    assert code == LOST
    await world.tunnel(1)
    assert world.pod.logins == 2


@pytest.mark.continuity(15)
async def test_a_kit_of_a_later_version_is_spoken_to_in_ours(world: World) -> None:
    world.pod.manner = newer
    await world.tunnel()


@pytest.mark.continuity(15, 16)
@pytest.mark.parametrize("lie", LIES)
async def test_a_shell_without_an_endpoint_is_asked_again_only_for_those_who_return(
    world: World, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "ANSWER_TIMEOUT_S", 0.3)
    world.pod.manner = LIES[lie]
    assert await world.enter() is None
    logins = world.pod.logins
    assert await world.enter() is None
    assert world.pod.logins == logins
    denial = await world.enter(1)
    assert isinstance(denial, Denial)
    assert denial.reason in (Reason.SHELL_UNAVAILABLE, Reason.SESSION_OVER)
    world.pod.manner = honest
    await world.tunnel(2)


async def test_a_port_that_is_closed_ends_the_session_there(world: World) -> None:
    world.pod.is_open = False
    assert await world.enter() is None
    assert (await world.pod.heard.get()).startswith("open 1 ")
    async with asyncio.timeout(BOUND_S):
        assert (await world.pod.heard.get()).startswith("end 1 ")


async def test_a_pod_without_the_port_is_not_asked(world: World) -> None:
    world.shell = Shell(Target("app01"), "127.0.0.1", world.ssh_port, started_by_us=True)
    assert await world.enter() is None
    assert world.pod.logins == 0


async def test_a_login_that_fails_late_is_not_mistaken_for_the_one_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, go_on = asyncio.Event(), asyncio.Event()

    class Doomed:
        async def create_unix_connection(self, make_control: Callable[[], Any], _: str) -> None:
            make_control().connection_lost(None)
            lost.set()
            await go_on.wait()
            raise ConnectionResetError

        def abort(self) -> None:
            pass

        close = abort

    async def doom(stream: Stream, *_: object) -> Doomed:
        stream.abort()
        return Doomed()

    with monkeypatch.context() as patch:
        patch.setattr(world.endpoints, "_login", SimpleNamespace(connect=doom))
        failing = asyncio.create_task(world.enter(1))
        await lost.wait()
    await world.tunnel(2)
    go_on.set()
    assert isinstance(await failing, Denial)
    await world.tunnel(3)
    assert world.pod.logins == 1
