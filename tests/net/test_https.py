"""Requests to a server that the settings name: bounded, and none of them leaves anything behind."""

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stagedoor.net import https
from stagedoor.net.https import ANSWER_LIMIT_BYTES, Https, NoAnswerError, load_trust
from tests.waiting import BOUND_S

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
TRUST = load_trust(None, "ca_file")


class Server:
    """Counts the connections that are open. `answer` is what each gets, None: nothing."""

    def __init__(self) -> None:
        self.answer: bytes | None = HELLO
        self.open = 0
        self.most = 0
        self.requests: list[bytes] = []
        self.empty = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/path?q=1"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        self.empty.clear()
        try:
            if self.answer is not None:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(self.answer)
                await writer.drain()
            while await reader.read(65536):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.open -= 1
            if not self.open:
                self.empty.set()


@asynccontextmanager
async def serving(server: Server, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0, ssl=context)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(Server()) as running:
        yield running


async def test_a_request_brings_the_status_and_the_body(server: Server) -> None:
    assert await Https(TRUST).ask("GET", server.url, [("Accept", "text/plain")]) == (200, b"hello")
    [request] = server.requests
    assert request.startswith(b"GET /path?q=1 HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}\r\n".encode() in request
    assert b"Accept: text/plain\r\n" in request
    server.answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\n\r\nuntil the end"
    assert await asyncio.wait_for(_until_closed(server), BOUND_S) == (201, b"until the end")


async def _until_closed(server: Server) -> tuple[int, bytes]:
    """Ask a server whose answer has no length and ends with its connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        assert server.answer is not None
        writer.write(server.answer)
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        return await Https(TRUST).ask("POST", f"http://127.0.0.1:{port}", (), b"body")


@pytest.mark.parametrize("ended", ["cancelled", "late"])
async def test_requests_that_end_at_once_lose_no_place(
    server: Server, ended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty at once, at a server that is silent: all are cancelled, or too late, in one turn of the loop."""
    server.answer = None
    asking = Https(TRUST)
    if ended == "late":
        monkeypatch.setattr(https, "ANSWER_LIMIT_S", 0.5)
    tasks = [asyncio.create_task(asking.ask("GET", server.url)) for _ in range(60)]
    if ended == "cancelled":
        while not server.open:
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {
        asyncio.CancelledError if ended == "cancelled" else NoAnswerError
    }
    monkeypatch.setattr(https, "ANSWER_LIMIT_S", BOUND_S)
    await asyncio.wait_for(server.empty.wait(), BOUND_S)
    server.answer = HELLO
    answers = await asyncio.gather(*(asking.ask("GET", server.url) for _ in range(60)))
    assert set(answers) == {(200, b"hello")}
    assert server.most <= https.MAX_CONCURRENT


async def test_a_request_that_is_cancelled_while_tls_begins_leaves_no_connection(
    server: Server,
) -> None:
    """The server never says a word of TLS."""
    server.answer = None
    url = server.url.replace("http:", "https:")
    task = asyncio.create_task(Https(TRUST).ask("GET", url))
    while not server.open:
        await asyncio.sleep(0)
    gc.disable()
    try:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.empty.wait(), BOUND_S)
    finally:
        gc.enable()


async def test_an_answer_has_a_bound_in_bytes_and_in_time(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(https, "ANSWER_LIMIT_S", 0.5)
    slow = asyncio.create_task(_drip(server))
    with pytest.raises(NoAnswerError, match=r"no answer within 0\.5 s"):
        await slow
    monkeypatch.setattr(https, "ANSWER_LIMIT_S", BOUND_S)
    server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + bytes(
        ANSWER_LIMIT_BYTES + 1
    )
    with pytest.raises(NoAnswerError, match="larger than"):
        await Https(TRUST).ask("GET", server.url)
    server.answer = b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000
    with pytest.raises(NoAnswerError, match="HTTP"):
        await Https(TRUST).ask("GET", server.url)
    server.answer = b"HTTP/1.1 200 OK\r\n" * 100_000
    with pytest.raises(NoAnswerError, match="HTTP"):
        await Https(TRUST).ask("GET", server.url)


async def _drip(server: Server) -> tuple[int, bytes]:
    """Ask a server that sends a byte every now and then, without end."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        try:
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
        except OSError:
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        return await Https(TRUST).ask("GET", f"http://127.0.0.1:{port}/")


async def test_a_redirect_is_an_answer_like_another(server: Server) -> None:
    server.answer = b"HTTP/1.1 302 Found\r\nLocation: /path\r\nContent-Length: 0\r\n\r\n"
    assert await Https(TRUST).ask("GET", server.url) == (302, b"")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("url", "headers", "why"),
    [
        ("http://127.0.0.1:1/", (), "refused"),
        ("http://127.0.0.1:1/a b", (), "may not be sent"),
        ("http://" + "a" * 70 + ".example/", (), "name"),
        ("http://127.0.0.1:1/", (("Authorization", "Bearer a\nsecret"),), "may not be sent"),
    ],
)
async def test_what_cannot_be_asked_is_said_without_a_secret(
    server: Server, url: str, headers: tuple[tuple[str, str], ...], why: str
) -> None:
    if "secret" in str(headers) or " " in url:
        url = url.replace(":1/", f":{server.port}/")
    with pytest.raises(NoAnswerError, match=why) as raised:
        await Https(TRUST).ask("GET", url, headers)
    assert "secret" not in str(raised.value)


async def test_a_certificate_is_verified_by_the_authorities_given(
    certificate: tuple[Path, Path],
) -> None:
    file, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    async with serving(Server(), context) as server:
        url = server.url.replace("http:", "https:").replace("127.0.0.1", "localhost")
        assert await Https(load_trust(file, "ca_file")).ask("GET", url) == (200, b"hello")
        with pytest.raises(NoAnswerError, match="certificate"):
            await Https(TRUST).ask("GET", url)
