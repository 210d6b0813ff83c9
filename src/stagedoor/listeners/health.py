"""The HTTP listener for monitoring: `/healthz`, `/readyz` and `/metrics`.

It is for kubelets, load balancers and Prometheus, and has its own address: it does not authenticate
clients, so it must not be reachable from outside. Each connection carries one request (RFC 9112 with
`Connection: close`), which all probers support.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

from stagedoor.model.errors import StagedoorError
from stagedoor.model.source import join_host_port

REQUEST_TIMEOUT_S = 5.0
"""A request must be received and its answer sent within this time."""
MAX_REQUEST_BYTES = 8192
MAX_OPEN = 32
"""The most connections at once; further ones are closed unanswered. Probers send one probe at a time."""


@dataclass(frozen=True, slots=True)
class HealthPage:
    """An answer. `text` is sent to any client, so it must not contain secrets."""

    text: str
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"


Pages = Mapping[str, Callable[[], HealthPage]]
"""The functions that make the answers, by path. They run on the event loop, so none may block."""


class HealthListener:
    """A listener that answers GET and HEAD of `pages`, and refuses other requests with 404 or 405."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int, *, setting: str = "health.address") -> None:
        """Listen on `host` ("": every interface). Raises StagedoorError, which names the setting."""
        try:
            self._server = await asyncio.start_server(
                self._answer, host or None, port, limit=MAX_REQUEST_BYTES
            )
        except OSError as error:
            # asyncio's message repeats the address; strerror has the reason alone.
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            shown = join_host_port(host, port)
            raise StagedoorError(f"cannot listen on {shown}: {why} (change {setting})") from None

    def list_addresses(self) -> list[tuple[str, int]]:
        """Return the addresses that it listens on, with the real port for port 0."""
        if self._server is None:
            return []
        return [sock.getsockname()[:2] for sock in self._server.sockets]

    async def close(self) -> None:
        """Stop listening. Requests that are being answered are dropped."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio runs this in a task"
        if len(self._open) >= MAX_OPEN:
            writer.close()
            return
        self._open.add(task)
        try:
            # A client that is slow, or does not speak HTTP, gets no answer.
            with suppress(OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._respond(head))
                    await writer.drain()
                    writer.write_eof()
                    # Closed with bytes unread, the answer could be lost to a reset (RFC 9112 §9.6).
                    await reader.read(MAX_REQUEST_BYTES)
        finally:
            self._open.discard(task)
            writer.close()

    def _respond(self, head: bytes) -> bytes:
        method, page = self._page(head)
        body = page.text.encode()
        lines = [
            f"HTTP/1.1 {page.status.value} {page.status.phrase}",
            f"Content-Type: {page.content_type}",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "Connection: close",
        ]
        if page.status is HTTPStatus.METHOD_NOT_ALLOWED:
            lines.append("Allow: GET, HEAD")
        answer = "\r\n".join([*lines, "", ""]).encode("ascii")
        return answer if method == "HEAD" else answer + body

    def _page(self, head: bytes) -> tuple[str, HealthPage]:
        """Return the request's method and the answer."""
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return "", HealthPage("this is no HTTP/1.1 request\n", HTTPStatus.BAD_REQUEST)
        method, target, _ = words
        if method not in ("GET", "HEAD"):
            return method, HealthPage("only GET and HEAD\n", HTTPStatus.METHOD_NOT_ALLOWED)
        make = self._pages.get(target.partition("?")[0])
        if make is None:
            known = ", ".join(sorted(self._pages))
            return method, HealthPage(
                f"there is no such page; there are {known}\n", HTTPStatus.NOT_FOUND
            )
        return method, make()
