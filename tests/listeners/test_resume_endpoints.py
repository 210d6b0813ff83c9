"""Which endpoint has the session to which a client comes back."""

import socket
from typing import Any

import pytest

from stagedoor.listeners.resume_endpoints import ResumeEndpoints
from stagedoor.listeners.resumption import ResumableConnection
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.session import ReadyShell
from stagedoor.model.shell import Shell
from stagedoor.model.target import Target
from stagedoor.net.tcp import TcpStream
from stagedoor.resume.requests import StreamTicket
from stagedoor.wire.http.connect import ResumeRequest
from tests.session.stages import GRANT, OPENED

READY = ReadyShell(GRANT, Shell(Target("app01"), "127.0.0.1", 22, resume_port=2223))
OVER = Denial(Reason.SESSION_OVER, "the session has ended")
UNAVAILABLE = Denial(Reason.SHELL_UNAVAILABLE, "the session cannot be resumed now")
anything: Any = None
TICKET = StreamTicket(anything, 1, anything, b"")


class Endpoint:
    """An endpoint that gives one answer."""

    def __init__(self, answer: StreamTicket | Denial | None) -> None:
        self._answer = answer

    async def resume(self, *_: object) -> StreamTicket | Denial | None:
        return self._answer

    find = resume


@pytest.mark.parametrize(
    ("in_shell", "here", "wanted"),
    [
        (TICKET, OVER, TICKET),
        (None, TICKET, TICKET),
        (OVER, TICKET, TICKET),
        (OVER, OVER, OVER),
        (UNAVAILABLE, TICKET, TICKET),
        (UNAVAILABLE, OVER, UNAVAILABLE),
    ],
)
async def test_a_session_is_found_where_it_is(
    in_shell: StreamTicket | Denial | None,
    here: StreamTicket | Denial,
    wanted: StreamTicket | Denial,
) -> None:
    """A shell whose endpoint has died must not hide a session that the gateway's own endpoint keeps."""
    endpoint: Any = Endpoint(here)
    there: Any = Endpoint(in_shell)
    endpoints = ResumeEndpoints(endpoint, anything, there)
    assert await endpoints.resume(READY, ResumeRequest("0" * 32, 1), anything) is wanted


async def test_a_connection_that_a_slow_endpoint_may_read_is_not_used_for_a_plain_tunnel() -> None:
    class Slow:
        away_limit_s = 60.0

        async def open(self, *_: object) -> StreamTicket:
            raise TimeoutError

    async def dial(_: ReadyShell) -> TcpStream:
        dialled.append(TcpStream(socket.socket()))
        return dialled[-1]

    dialled: list[TcpStream] = []
    slow: Any = Slow()
    endpoints = ResumeEndpoints(slow, lambda _: "")
    stream = await endpoints.open(OPENED, dial, ResumeRequest("0" * 32, 0), anything)
    first, second = dialled
    assert first.fileno() == -1
    assert stream is second
    second.close()


async def test_a_new_tunnel_without_its_endpoint_is_not_called_a_resumed_one() -> None:
    class Away:
        def find_away_limit(self, _: object) -> float:
            return 60.0

        async def open(self, *_: object) -> StreamTicket:
            control: Any = self
            return StreamTicket(control, 1, anything, b"")

        async def connect_data(self, _: bytes) -> TcpStream:
            raise ConnectionRefusedError(111, "Connection refused")

        def end(self, *_: object) -> None:
            pass

    away: Any = Away()
    connection = ResumableConnection(away, ResumeRequest("0" * 32, 0))
    denial = await connection.connect(OPENED, anything)
    assert isinstance(denial, Denial)
    assert denial.message == "the tunnel's endpoint could not be reached: Connection refused"
