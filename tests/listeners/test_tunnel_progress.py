"""How far a start has come, for the client that asks for it and for no other."""

import asyncio
from ipaddress import ip_address
from typing import cast

import pytest

from stagedoor.listeners.downstream import MAX_INTERIMS, Downstream
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.shell import ProgressStep
from stagedoor.model.source import Source
from stagedoor.relay.ports import Stream
from stagedoor.wire.http.answer import encode_interim
from stagedoor.wire.http.connect import HeadParser, Request

HEAD = b"CONNECT app01.ssh:22 HTTP/1.1\r\nHost: app01.ssh:22\r\n"


class Wire:
    """A stream whose socket takes `room` bytes at a time, and none while it is 0."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sent = b""

    def send(self, data: bytes | memoryview) -> int:
        taken = bytes(data)[: self.room]
        self.sent += taken
        return len(taken)

    def flush(self) -> bool:
        return True

    def recv(self, limit: int) -> bytes | None:
        return b""

    def fileno(self) -> int:
        return -1

    def shutdown_write(self) -> None: ...


def downstream(wire: Wire, header: bytes) -> Downstream:
    made = Downstream(cast(Stream, wire), Source(ip_address("127.0.0.1"), 1))
    request = HeadParser().feed(HEAD + header + b"\r\n")
    assert isinstance(request, Request)
    made.request = request
    return made


def test_only_a_client_that_asks_gets_progress() -> None:
    wire = Wire(1000)
    downstream(wire, b"User-Agent: curl\r\n").show_progress(ProgressStep("scheduling"))
    assert wire.sent == b""
    downstream(wire, b"Stagedoor-Progress: 1\r\n").show_progress(
        ProgressStep("pulling image", "a/b:1")
    )
    assert wire.sent == (
        b"HTTP/1.1 102 Processing\r\nStagedoor-Progress: pulling image: a/b:1\r\n\r\n"
    )


async def test_what_does_not_go_out_at_once_comes_before_the_answer_whole() -> None:
    wire = Wire(7)
    waiting = downstream(wire, b"Stagedoor-Progress: 1\r\n")
    waiting.show_progress(ProgressStep("scheduling"))
    wire.room = 0
    waiting.show_progress(ProgressStep("starting container"))
    assert len(wire.sent) == 7
    wire.room = 10_000
    async with asyncio.timeout(60):
        await waiting.send_refusal(Denial(Reason.SHELL_UNAVAILABLE, "no"))
    expected = encode_interim(ProgressStep("scheduling")) + encode_interim(
        ProgressStep("starting container")
    )
    assert wire.sent.startswith(expected + b"HTTP/1.1 503 ")


def test_a_start_that_never_ends_does_not_fill_the_clients_memory() -> None:
    wire = Wire(10_000_000)
    waiting = downstream(wire, b"Stagedoor-Progress: 1\r\n")
    for number in range(1000):
        waiting.show_progress(ProgressStep(f"step {number}"))
    assert wire.sent.count(b"102 Processing") == MAX_INTERIMS


@pytest.mark.parametrize("text", ["a\r\nX: y", "a\x1b[2J", "ünïcode", "x" * 9999, ""])
def test_no_step_can_end_its_header(text: str) -> None:
    sent = encode_interim(ProgressStep(text, text))
    assert sent.count(b"\r\n") == 3
    assert sent.endswith(b"\r\n\r\n")
    assert len(sent) < 300
    assert b"\x1b" not in sent
