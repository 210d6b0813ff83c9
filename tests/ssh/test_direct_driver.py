"""The driver of a direct login and its channels, with fakes at both ends."""

import asyncio
from types import SimpleNamespace
from typing import Any

import asyncssh
import pytest

from stagedoor.listeners.ssh.direct.channel import DirectChannel
from stagedoor.listeners.ssh.direct.driver import DirectDriver, DirectParts
from stagedoor.listeners.ssh.direct.events import ConnectionClosed, SessionEnded
from stagedoor.model.certificate import ALL_EXTENSIONS
from stagedoor.model.identity import Identity, Method
from stagedoor.model.session import STOPPED, STOPPING, EndReason
from stagedoor.model.source import Source
from stagedoor.model.target import Target


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
