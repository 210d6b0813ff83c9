"""The driver of a direct login and its channels, with fakes at both ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import asyncssh
import pytest

from stagedoor.listeners.ssh.direct import driver as driving
from stagedoor.listeners.ssh.direct.channel import DirectChannel
from stagedoor.listeners.ssh.direct.driver import DirectDriver, DirectParts
from stagedoor.listeners.ssh.direct.events import ConnectionClosed, SessionEnded
from stagedoor.listeners.ssh.direct.start import explain_not_started
from stagedoor.model.certificate import ALL_EXTENSIONS
from stagedoor.model.identity import Identity, Method
from stagedoor.model.session import STOPPED, STOPPING, EndReason
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.recording.channel_audit import ChannelRequest
from stagedoor.upstream.connection import MAX_MESSAGE_CHARS
from stagedoor.upstream.session import SessionEndedError


class _EndlessFlow:
    """A flow that enters no shell until it is cancelled."""

    async def enter(self, *_: object, **__: object) -> None:
        await asyncio.Event().wait()

    def explain_asking(self, *_: object) -> str:
        return ""


def make_driver(flow: Any) -> DirectDriver:
    login: Any = SimpleNamespace(
        flow=flow,
        identity=Identity("dev", frozenset(), Method.PUBLIC_KEY, "SHA256:x"),
        target=Target("app01"),
        source=Source.of("127.0.0.1", 22),
        permitted_extensions=ALL_EXTENSIONS,
        force_command=None,
        hang_up=lambda line: None,
    )
    unused: Any = None
    return DirectDriver(DirectParts(unused, unused), login)


async def test_a_login_that_the_stop_cancels_is_refused_because_of_the_stop() -> None:
    driver = make_driver(_EndlessFlow())
    forward = asyncio.create_task(driver.open_forward("localhost", 80))
    await asyncio.sleep(0)
    (entering,) = driver._session_tasks.values()
    await asyncio.sleep(0)
    entering.cancel(STOPPED)
    with pytest.raises(asyncssh.ChannelOpenError, match=STOPPED):
        await forward


async def test_a_revocation_stops_a_login_that_enters() -> None:
    driver = make_driver(_EndlessFlow())
    forward = asyncio.create_task(driver.open_forward("localhost", 80))
    await asyncio.sleep(0)
    (entering,) = driver._session_tasks.values()
    await asyncio.sleep(0)
    driver.post(SessionEnded(None, EndReason.REVOKED, "the key was revoked", by_gateway=True))
    with pytest.raises(asyncio.CancelledError, match="the key was revoked"):
        await entering
    driver.post(ConnectionClosed("the key was revoked"))
    with pytest.raises(asyncssh.ChannelOpenError, match="the key was revoked"):
        await forward


async def test_a_login_whose_connection_the_gateway_closed_is_given_up_for_that_reason() -> None:
    reasons: list[str] = []
    is_ready = asyncio.Event()

    class Flow(_EndlessFlow):
        async def enter(self, *_: object, **__: object) -> Any:
            await is_ready.wait()
            return SimpleNamespace(give_up=reasons.append)

    driver = make_driver(Flow())
    forward = asyncio.create_task(driver.open_forward("localhost", 80))
    await asyncio.sleep(0)
    (entering,) = driver._session_tasks.values()
    driver.post(ConnectionClosed(STOPPING))
    is_ready.set()
    await entering
    assert reasons == [STOPPING]
    with pytest.raises(asyncssh.ChannelOpenError, match=STOPPING):
        await forward


async def test_a_login_whose_session_is_ended_meanwhile_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @asynccontextmanager
    async def end_session(*_: object) -> AsyncIterator[None]:
        raise SessionEndedError(EndReason.EVICTED, "closed by root")
        yield

    class Flow(_EndlessFlow):
        async def enter(self, *_: object, **__: object) -> Any:
            return SimpleNamespace(grant=SimpleNamespace(permissions=frozenset()))

    monkeypatch.setattr(driving, "open_shell_session", end_session)
    with pytest.raises(asyncssh.ChannelOpenError, match="closed by root"):
        await make_driver(Flow()).open_forward("localhost", 80)


def test_a_hostile_shells_reason_against_a_forward_is_one_short_line() -> None:
    error = asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "no\x1b[2J\n" * 5000)
    shell: Any = None
    request = ChannelRequest("forward", "localhost:80")
    explained = explain_not_started(error, request, "app01-ssh", shell)
    assert explained is not None
    why, code = explained
    assert code == asyncssh.OPEN_CONNECT_FAILED
    assert why.isprintable()
    assert len(why) <= MAX_MESSAGE_CHARS


@pytest.mark.parametrize(
    ("terminal", "shown"), [(None, b"a line\n"), (("xterm", (80, 24, 0, 0), {}), b"a line\r\n")]
)
def test_a_line_ends_as_its_reader_needs_it(terminal: Any, shown: bytes) -> None:
    written: list[bytes] = []
    channel, downstream = DirectChannel(1), SimpleNamespace(is_closing=lambda: False)
    downstream.write = lambda data, _: written.append(data)
    fake: Any = downstream
    channel.downstream, channel.terminal = fake, terminal
    channel.show_line("a line")
    assert written == [shown]
