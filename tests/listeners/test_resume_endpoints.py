"""Which endpoint has the session to which a client comes back."""

import asyncio
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from stagedoor.listeners.resume_endpoints import ResumeEndpoints
from stagedoor.listeners.resumption import ResumableConnection, SessionLink
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.session import ZERO_COUNTS, Counts, OpenedSession, ReadyShell, SessionResult
from stagedoor.model.shell import Shell
from stagedoor.model.target import Target
from stagedoor.net.tcp import TcpStream
from stagedoor.resume.control import EndpointControl
from stagedoor.resume.messages import LOST
from stagedoor.resume.requests import Requests, StreamTicket
from stagedoor.wire.http.connect import ResumeRequest
from tests.session.stages import GRANT, OPENED, stored_session

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


EARLIER = structs.replace(OPENED, before=Counts(3, 4), continues=stored_session())


@pytest.mark.parametrize("error", [ConnectionRefusedError(), asyncio.CancelledError()])
@pytest.mark.parametrize(
    ("opened", "attempt", "wanted"), [(OPENED, 0, "end 1"), (EARLIER, 1, "forget 1")]
)
async def test_a_connection_that_fails_ends_only_the_session_that_it_has_opened(
    opened: OpenedSession, attempt: int, wanted: str, error: BaseException
) -> None:
    heard: list[str] = []

    class Unreachable:
        def find_away_limit(self, _: object) -> float:
            return 60.0

        async def open(self, *_: object) -> StreamTicket:
            control: Any = self
            return StreamTicket(control, 1, anything, b"")

        resume = open

        async def connect_data(self, _: bytes) -> TcpStream:
            raise error

        def end(self, number: int, _: str) -> None:
            heard.append(f"end {number}")

        def forget(self, number: int) -> None:
            heard.append(f"forget {number}")

    unreachable: Any = Unreachable()
    connection = ResumableConnection(unreachable, ResumeRequest("0" * 32, attempt))
    await connection.find_earlier(READY)
    with suppress(asyncio.CancelledError):
        assert isinstance(await connection.connect(opened, anything), Denial)
    assert heard == [wanted]
    assert connection.find_earlier_end(ZERO_COUNTS) is None


async def test_a_session_never_ends_with_fewer_bytes_than_it_had_before() -> None:
    """An endpoint that has forgotten a session reports its end without bytes."""
    ends: list[SessionResult] = []
    for counts in (Counts(0, 0), Counts(70, 80), None):
        link = SessionLink(lambda _: 60.0)
        link.begin_hold(ends.append, lambda _: None, Counts(3, 4))
        link.note_end(LOST, "the session has ended", counts)
    assert [end.counts for end in ends] == [Counts(3, 4), Counts(70, 80), Counts(3, 4)]


async def test_a_login_that_is_cancelled_as_it_opens_leaves_no_connection_to_the_shell() -> None:
    class Cancelled:
        away_limit_s = 60.0

        async def open(self, *_: object) -> StreamTicket:
            raise asyncio.CancelledError

    shell = TcpStream(socket.socket())

    async def dial(_: ReadyShell) -> TcpStream:
        return shell

    cancelled: Any = Cancelled()
    endpoints = ResumeEndpoints(cancelled, lambda _: "")
    with pytest.raises(asyncio.CancelledError):
        await endpoints.open(OPENED, dial, ResumeRequest("0" * 32, 0), anything)
    assert shell.fileno() == -1


@pytest.mark.parametrize(("word", "ends"), [("open", True), ("back", False)])
async def test_a_session_whose_opening_is_not_awaited_ends_in_the_endpoint(
    word: str, ends: bool
) -> None:
    sent: list[str] = []
    asking = asyncio.create_task(Requests().ask(sent.append, word, "what", anything))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert [line.split(" ")[:2] for line in sent] == [[word, "1"]] + [["end", "1"]] * ends


async def test_no_endpoint_is_started_for_a_session_that_it_cannot_have(tmp_path: Path) -> None:
    folder = tmp_path / "resume"
    control = EndpointControl(folder, 60.0)
    denial = await control.resume("0" * 32, 1, "dev app01.ssh", anything)
    assert isinstance(denial, Denial)
    assert denial.reason is Reason.SESSION_OVER
    assert not folder.exists()


async def test_a_resume_without_an_answer_is_refused_with_a_reason() -> None:
    class Silent:
        def find_away_limit(self, _: object) -> float:
            return 60.0

        async def resume(self, *_: object) -> StreamTicket:
            raise TimeoutError

    silent: Any = Silent()
    denial = await ResumableConnection(silent, ResumeRequest("0" * 32, 1)).find_earlier(READY)
    assert isinstance(denial, Denial)
    assert denial.message == "the session cannot be resumed now: no answer"
