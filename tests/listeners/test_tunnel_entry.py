"""CONNECT between the session's opening and its relay, with stand-ins for both."""

import asyncio
import socket
from ipaddress import ip_network
from typing import Any

import pytest
from msgspec import structs

from stagedoor.listeners.accept import AcceptRules
from stagedoor.listeners.downstream import Downstream
from stagedoor.listeners.resumption import ResumableConnection
from stagedoor.listeners.tunnel import TunnelListener
from stagedoor.model.denial import Denial
from stagedoor.model.session import (
    STOPPED,
    Counts,
    EndReason,
    OpenedSession,
    ResumedSession,
    SessionResult,
)
from stagedoor.net.tcp import TcpStream
from stagedoor.relay.ports import Stream
from stagedoor.resume.messages import CLOSED
from stagedoor.resume.requests import StreamTicket
from stagedoor.session.entered import EnteredSession
from stagedoor.session.ports import RelayHandle
from stagedoor.wire.http.connect import HeadParser, Request
from tests.session.stages import OPENED, SOURCE, stored_session


class OneFlow:
    """A flow that opens one session, or raises an error, and records what becomes of it."""

    def __init__(self, opened: OpenedSession = OPENED, error: Exception | None = None) -> None:
        self.opened = opened
        self.error = error
        self.ended: list[SessionResult] = []
        self.attached: list[RelayHandle] = []
        self.denied: list[Denial] = []

    async def enter_by_name(
        self, *_: object, resumable: ResumableConnection | None = None, **__: object
    ) -> EnteredSession | Denial:
        if self.error is not None:
            raise self.error
        stream: Stream | Denial
        if resumable is None:
            stream = TcpStream(socket.socket())
        else:
            await resumable.find_earlier(self.opened.ready)
            stream = await resumable.connect(self.opened, anything)
            assert not isinstance(stream, Denial)
        owner: Any = self
        return EnteredSession(owner, self.opened, stream)

    def attach(self, _: OpenedSession, handle: RelayHandle) -> None:
        self.attached.append(handle)

    def close_session(self, _: OpenedSession, end: SessionResult) -> None:
        self.ended.append(end)

    def release(self, *_: object) -> None:
        raise AssertionError("the session is still here")

    def record_denial(self, denial: Denial, _: object) -> Denial:
        self.denied.append(denial)
        return denial


class OneEndpoint:
    """The endpoint and its control, with one session."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def find_away_limit(self, _: object) -> float:
        return 60.0

    async def open(self, *_: object) -> StreamTicket:
        control: Any = self
        return StreamTicket(control, 1, ResumedSession("s1"), b"")

    resume = open

    async def connect_data(self, _: bytes) -> TcpStream:
        return TcpStream(socket.socket())

    def end(self, number: int, _: str) -> None:
        self.heard.append(f"end {number}")

    def forget(self, number: int) -> None:
        self.heard.append(f"forget {number}")


anything: Any = None
HEAD = b"CONNECT app01.ssh:22 HTTP/1.0\r\n"


def listener_of(flow: OneFlow, endpoint: OneEndpoint | None = None) -> TunnelListener:
    some_flow: Any = flow
    listener = TunnelListener(some_flow, anything, AcceptRules((ip_network("0.0.0.0/0"),)))
    listener._endpoints = endpoint  # type: ignore[assignment]  # a stand-in
    return listener


async def stop_at_entry(
    listener: TunnelListener, monkeypatch: pytest.MonkeyPatch, head: bytes = HEAD
) -> None:
    """Serve a request whose task is cancelled just after its entry."""

    async def stop(_: Downstream) -> None:
        raise asyncio.CancelledError(STOPPED)

    request = HeadParser().feed(head + b"\r\n")
    assert isinstance(request, Request)
    monkeypatch.setattr(Downstream, "stop_watching", stop)
    with socket.socket() as client, pytest.raises(asyncio.CancelledError):
        await listener._enter(Downstream(TcpStream(client), SOURCE), request)


async def test_a_login_that_is_stopped_just_after_its_entry_ends_its_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flow = OneFlow()
    await stop_at_entry(listener_of(flow), monkeypatch)
    assert [end.end for end in flow.ended] == [EndReason.UNREACHED]


async def test_a_new_resumable_session_that_is_stopped_at_its_entry_ends_in_its_endpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flow, endpoint = OneFlow(), OneEndpoint()
    resume = b"Stagedoor-Resume: 1 " + b"0" * 32 + b" 0\r\n"
    await stop_at_entry(listener_of(flow, endpoint), monkeypatch, HEAD + resume)
    assert [end.end for end in flow.ended] == [EndReason.UNREACHED]
    assert endpoint.heard == ["end 1"]


@pytest.mark.continuity(8, 19)
async def test_a_resumed_session_that_is_stopped_at_its_entry_stays_with_its_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The endpoint has given it to this worker, so no other one can end it or record its end."""
    opened = structs.replace(OPENED, before=Counts(3, 4), continues=stored_session())
    flow, endpoint = OneFlow(opened), OneEndpoint()
    resume = b"Stagedoor-Resume: 1 " + b"0" * 32 + b" 1\r\n"
    await stop_at_entry(listener_of(flow, endpoint), monkeypatch, HEAD + resume)
    assert (flow.ended, endpoint.heard) == ([], [])
    (link,) = flow.attached
    assert isinstance(link, ResumableConnection)
    link.note_end(CLOSED, "", Counts(70, 80))
    assert flow.ended == [SessionResult(EndReason.CLOSED, Counts(70, 80))]


async def test_an_error_inside_the_gateway_is_not_taken_for_a_hang_up() -> None:
    flow = OneFlow(error=OSError(24, "Too many open files"))
    near, far = socket.socketpair()
    with far, near:
        near.setblocking(False)
        far.sendall(HEAD + b"\r\n")
        far.shutdown(socket.SHUT_WR)
        stream = TcpStream(near)
        with pytest.raises(OSError, match="Too many open files"):
            await listener_of(flow)._serve(Downstream(stream, SOURCE), stream, None)
        assert far.recv(1000).startswith(b"HTTP/1.1 500 ")
    assert flow.denied == [Denial.of_fault()]
