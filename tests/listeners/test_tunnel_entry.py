"""CONNECT between the session's opening and its relay, with stand-ins for both."""

import asyncio
import socket
from typing import Any

import pytest

from stagedoor.listeners.downstream import Downstream
from stagedoor.listeners.tunnel import TunnelListener
from stagedoor.model.session import STOPPED, EndReason, OpenedSession, SessionResult
from stagedoor.net.tcp import TcpStream
from stagedoor.session.entered import EnteredSession
from stagedoor.wire.http.connect import HeadParser, Request
from tests.session.stages import OPENED, SOURCE


async def test_a_login_that_is_stopped_just_after_its_entry_ends_its_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[SessionResult] = []

    class OneFlow:
        async def enter_by_name(self, *_: object, **__: object) -> EnteredSession:
            owner: Any = self
            return EnteredSession(owner, OPENED, TcpStream(socket.socket()))

        def close_session(self, _: OpenedSession, end: SessionResult) -> None:
            ended.append(end)

    async def stop(_: Downstream) -> None:
        raise asyncio.CancelledError(STOPPED)

    flow: Any = OneFlow()
    unused: Any = None
    listener = TunnelListener(flow, unused, unused)
    request = HeadParser().feed(b"CONNECT app01.ssh:22 HTTP/1.0\r\n\r\n")
    assert isinstance(request, Request)
    monkeypatch.setattr(Downstream, "stop_watching", stop)
    with socket.socket() as client, pytest.raises(asyncio.CancelledError):
        await listener._enter(Downstream(TcpStream(client), SOURCE), request)
    assert [end.end for end in ended] == [EndReason.UNREACHED]
