"""`open_shell_session`: whatever happens in or to the block, the shell is released and the session over."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import asyncssh
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stagedoor.keys.ca import CertificateAuthority
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.event import EventKind
from stagedoor.model.session import Counts, EndReason
from stagedoor.model.shell import Shell
from stagedoor.net.dial import Dialer
from stagedoor.recording.channel_audit import ChannelRequest
from stagedoor.session.entered import EnteredSession
from stagedoor.session.flow import Flow
from stagedoor.upstream.login import GatewayLogin, ShellAccount, ShellLoginError
from stagedoor.upstream.session import (
    SessionEndedError,
    open_shell_session,
)
from tests.session.stages import APP01, DEV, GRANT, ORIGIN, Script, flow_of
from tests.waiting import BOUND_S

TURNS = 20
"""More turns of the loop than asyncio takes from accept(2) to `connection_made`, or to close."""


class Connections(asyncssh.SSHServer):
    """The shell's sshd: a client that has a certificate gets in."""

    def __init__(self, live: set[object]) -> None:
        self._live = live

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._live.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._live.discard(self)


@dataclass
class SshShell:
    """A shell, and a flow that leads to it."""

    script: Script
    flow: Flow
    login: GatewayLogin
    live: set[object]
    notes: list[EventKind]

    async def enter(self) -> EnteredSession:
        entered = await self.flow.enter(DEV, APP01, ORIGIN, lambda step: None)
        assert not isinstance(entered, Denial)
        return entered

    @property
    def closed(self) -> list[str]:
        return [step for step in self.script.asked if step.startswith("audit.close")]

    async def wait_until_empty(self) -> None:
        async with asyncio.timeout(BOUND_S):
            while self.live:
                await asyncio.sleep(0)
        assert len(self.flow.registry) == 0


@asynccontextmanager
async def ssh_shell(*, known: bool = True) -> AsyncIterator[SshShell]:
    """`known`: whether the gateway knows the shell's host key."""
    live: set[object] = set()
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    ca = CertificateAuthority(Ed25519PrivateKey.generate(), time.time)
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: Connections(live),
        server_host_keys=[host_key],
        authorized_client_keys=asyncssh.import_authorized_keys(
            f"cert-authority {ca.format_public_line()}"
        ),
        process_factory=lambda process: process.exit(0),
    )
    script = Script(shell=Shell(APP01, "127.0.0.1", server.get_port(), started_by_us=True))
    flow = flow_of(script)
    flow = replace(flow, connector=replace(flow.connector, dial=Dialer().dial))
    key = host_key.export_public_key().decode().strip()
    account = ShellAccount(host_keys=(key,) if known else ())
    notes: list[EventKind] = []
    login = GatewayLogin(
        ca.sign_user,
        (),
        lambda target: account,
        lambda opened, kind, fields: notes.append(kind),
        BOUND_S,
    )
    try:
        yield SshShell(script, flow, login, live, notes)
    finally:
        await (
            settle()
        )  # what is being accepted is accepted: a server that is closed then forgets it
        server.close()
        async with asyncio.timeout(BOUND_S):
            while live:
                await asyncio.sleep(0)
        await settle()  # asyncssh reports a lost connection before its transport is closed
        await server.wait_closed()


async def settle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def test_a_block_that_ends_closes_the_session_in_order() -> None:
    async with ssh_shell() as here:
        async with open_shell_session(await here.enter(), here.login) as session:
            assert len(here.flow.registry) == len(here.live) == 1
            done = await session.shell.run("true")
            assert done.exit_status == 0
            session.sent, session.received = 3, 4
            assert [*here.flow.registry.read_counts()] == [(session.opened.id, Counts(3, 4))]
        await here.wait_until_empty()
        assert here.closed == ["audit.close closed"]
        assert here.script.lines[-1]["sent"] == 3


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (ConnectionResetError("gone"), "upstream_lost"),
        (asyncssh.ChannelOpenError(1, "no"), "upstream_lost"),
        (RuntimeError("a bug"), "fault"),
        (asyncio.CancelledError(), "drained"),
    ],
)
async def test_what_the_block_raises_says_how_the_session_ended(
    error: BaseException, end: str
) -> None:
    async with ssh_shell() as here:
        with pytest.raises(type(error)):
            async with open_shell_session(await here.enter(), here.login):
                raise error
        await here.wait_until_empty()
        assert here.closed == [f"audit.close {end}"]


async def test_the_block_may_say_itself_how_it_ended() -> None:
    async with ssh_shell() as here:
        with suppress(RuntimeError):
            async with open_shell_session(await here.enter(), here.login) as session:
                session.set_end(EndReason.DOWNSTREAM_LOST, "the browser went away")
                session.set_end(EndReason.CLOSED)
                raise RuntimeError
        await here.wait_until_empty()
        assert here.closed == ["audit.close downstream_lost"]


async def test_a_session_that_is_revoked_is_ended_in_the_middle_of_its_block() -> None:
    async with ssh_shell() as here:

        async def work() -> None:
            async with open_shell_session(await here.enter(), here.login) as session:
                with session.audit_only_channel(ChannelRequest("exec", "true")):
                    here.flow.registry.end_all(EndReason.REVOKED, "gone home")
                    await asyncio.Event().wait()

        with pytest.raises(SessionEndedError, match="gone home") as ended:
            await work()
        assert ended.value.end is EndReason.REVOKED
        await here.wait_until_empty()
        assert here.closed == ["audit.close revoked"]
        assert here.notes == [EventKind.CHANNEL_OPENED, EventKind.CHANNEL_CLOSED]


async def test_a_session_whose_grant_went_as_it_opened_never_begins() -> None:
    async with ssh_shell() as here:
        denied = Denial(Reason.NO_GRANT, "no grant")
        here.script.grants = [GRANT, GRANT, denied]
        begun = False
        with pytest.raises(SessionEndedError, match="no grant"):
            async with open_shell_session(await here.enter(), here.login):
                begun = True
        assert not begun
        await here.wait_until_empty()
        assert here.closed == ["audit.close revoked"]


@pytest.mark.parametrize(
    ("end", "audited"), [(EndReason.EVICTED, "evicted"), (EndReason.DRAINED, "unreached")]
)
async def test_a_shell_that_never_answers_is_left_when_the_session_has_to_end(
    end: EndReason, audited: str
) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()  # until the gateway has hung up
        writer.transport.abort()
        explain_hang_up.set()

    explain_hang_up = asyncio.Event()
    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with silent, ssh_shell() as here:
        port = silent.sockets[0].getsockname()[1]
        here.script.shell = Shell(APP01, "127.0.0.1", port, started_by_us=True)
        entered = await here.enter()
        here.flow.registry.end_all(end, "by hand")
        with pytest.raises(SessionEndedError, match="by hand"):
            async with open_shell_session(entered, here.login):
                raise AssertionError("nobody let us in")
        assert here.closed == [f"audit.close {audited}"]
        async with asyncio.timeout(BOUND_S):
            await explain_hang_up.wait()


async def test_a_shell_with_another_host_key_is_not_logged_in_to() -> None:
    async with ssh_shell(known=False) as here:
        with pytest.raises(ShellLoginError, match="no host key that the gateway knows"):
            async with open_shell_session(await here.enter(), here.login):
                raise AssertionError("somebody else's shell")
        await here.wait_until_empty()
        assert here.closed == ["audit.close unreached"]


async def test_a_login_may_be_cancelled_at_any_await_and_leaves_no_shell() -> None:
    """Cancelled after 0, 1, 2, … turns of the loop: through the dial, the login, and the block."""
    async with ssh_shell() as here:
        reached_block = False

        async def log_in() -> None:
            nonlocal reached_block
            async with open_shell_session(await here.enter(), here.login) as session:
                reached_block = True
                await session.shell.run("true")
                await asyncio.Event().wait()

        turns = 0
        while not reached_block:
            del here.script.asked[:]
            task = asyncio.create_task(log_in())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await here.wait_until_empty()
            opened = here.script.asked.count("audit.open")
            assert len(here.closed) == opened, here.script.asked
            turns += 1
