"""The health listener: what probers and scrapers get, and what those get who speak no HTTP."""

import asyncio
import http.client
from collections.abc import AsyncIterator
from http import HTTPStatus

import pytest

from stagedoor.listeners import health
from stagedoor.listeners.health import HealthListener, HealthPage
from stagedoor.model.errors import StagedoorError


class Answers:
    """Pages that a test can change."""

    ready = True

    def readyz(self) -> HealthPage:
        if self.ready:
            return HealthPage("ready\n")
        return HealthPage("draining\n", HTTPStatus.SERVICE_UNAVAILABLE)


@pytest.fixture
async def answers() -> Answers:
    return Answers()


@pytest.fixture
async def port(answers: Answers) -> AsyncIterator[int]:
    listener = HealthListener(
        {"/healthz": lambda: HealthPage("alive\n"), "/readyz": answers.readyz}
    )
    await listener.start("127.0.0.1", 0)
    yield listener.list_addresses()[0][1]
    await listener.close()


async def ask(port: int, method: str, path: str) -> tuple[int, str]:
    def talk() -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        return response.status, body

    return await asyncio.to_thread(talk)


async def send(port: int, content: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(content)
    writer.write_eof()
    try:
        async with asyncio.timeout(60):
            return await reader.read()
    finally:
        writer.close()


async def test_a_page_says_what_its_function_says_now(answers: Answers, port: int) -> None:
    assert await ask(port, "GET", "/readyz") == (200, "ready\n")
    answers.ready = False
    assert await ask(port, "GET", "/readyz") == (503, "draining\n")
    assert await ask(port, "HEAD", "/readyz?verbose") == (503, "")
    assert await ask(port, "GET", "/healthz") == (200, "alive\n")


async def test_everything_else_is_refused_with_what_there_is(port: int) -> None:
    assert await ask(port, "GET", "/") == (
        404,
        "there is no such page; there are /healthz, /readyz\n",
    )
    assert (await ask(port, "POST", "/healthz"))[0] == 405


@pytest.mark.parametrize("content", [b"", b"GET /healthz HTTP/1.1", b"x" * 20000])
async def test_what_is_no_request_gets_no_answer(port: int, content: bytes) -> None:
    try:
        assert await send(port, content) == b""
    except ConnectionResetError:
        assert len(content) > health.MAX_REQUEST_BYTES
    assert await ask(port, "GET", "/healthz") == (200, "alive\n")


async def test_what_looks_like_a_request_is_answered_that_it_is_none(port: int) -> None:
    answer = await send(port, b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_slow_client_is_dropped_and_a_flood_shuts_none_out_for_good(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "REQUEST_TIMEOUT_S", 0.3)
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(health.MAX_OPEN + 5)]
    async with asyncio.timeout(60):
        for reader, _ in silent:
            assert await reader.read() == b""
    for _, writer in silent:
        writer.close()
    assert await ask(port, "GET", "/healthz") == (200, "alive\n")


async def test_a_port_that_is_taken_is_named_with_its_setting(port: int) -> None:
    with pytest.raises(
        StagedoorError, match=rf"cannot listen on 127.0.0.1:{port}: .*health\.address"
    ):
        await HealthListener({}).start("127.0.0.1", port)
