"""A server that answers as a script says, byte by byte, where a real API server would not misbehave."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from stagedoor.kube.access import Access, ApiAddress, ApiTrust
from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.credentials import Credential, StaticCredential
from stagedoor.kube.pace import Limits

Script = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request, and the way to answer it."""

    number: int
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ends: bool = field(default=False)
    """Set by the script: close the connection after this."""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(
        self, status: int, body: bytes, content_type: str = "application/json", more: str = ""
    ) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\n{more}"
        await self.raw(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    async def json(self, status: int, body: Any, more: str = "") -> None:
        await self.answer(status, json.dumps(body).encode(), more=more)

    async def stream(self) -> None:
        """The head of a watch's answer; then `event`, and at the end `end`."""
        await self.raw(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )

    async def chunk(self, data: bytes) -> None:
        await self.raw(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def event(self, kind: str, item: Any) -> None:
        await self.chunk(json.dumps({"type": kind, "object": item}).encode() + b"\n")

    async def hang(self) -> None:
        """Say nothing more until the other end has gone."""
        await self.reader.read()
        self.ends = True

    async def end(self) -> None:
        await self.raw(b"0\r\n\r\n")


class Scripted:
    """The server; `exchanges` has all that was asked."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.exchanges: list[Exchange] = []
        self.connections = 0
        self.open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                method, path, _ = lines[0].split(" ")
                pairs = [line.split(": ", 1) for line in lines[1:] if line]
                headers = [(key.lower(), value) for key, value in pairs]
                length = next((int(value) for key, value in headers if key == "content-length"), 0)
                body = await reader.readexactly(length)
                exchange = Exchange(
                    len(self.exchanges), method, path, headers, body, reader, writer
                )
                self.exchanges.append(exchange)
                await self._script(exchange)
                if exchange.ends:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.open.discard(writer)
            writer.transport.abort()

    def access(self, credential: Credential | None = None) -> Access:
        return Access(
            ApiAddress("127.0.0.1", self.port, tls=False),
            ApiTrust(),
            credential or StaticCredential(),
            "default",
            "the test",
        )

    def cluster(
        self,
        *,
        limits: Limits | None = None,
        credential: Credential | None = None,
        problems: list[str | None] | None = None,
    ) -> KubeCluster:
        reported = [] if problems is None else problems
        return KubeCluster(
            self.access(credential),
            field_manager="stagedoor",
            component="stagedoor-test",
            instance="test-0",
            on_problem=lambda _, problem: reported.append(problem),
            limits=limits,
        )


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[Scripted]:
    """The server runs while the block does."""
    server = Scripted(script)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(server.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def pod(name: str, version: int = 1) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "apps", "name": name, "resourceVersion": str(version)},
    }


def listing(*items: dict[str, Any], version: int = 1) -> dict[str, Any]:
    return {"kind": "PodList", "metadata": {"resourceVersion": str(version)}, "items": list(items)}


def status(code: int, reason: str, message: str = "because") -> dict[str, Any]:
    return {"kind": "Status", "code": code, "reason": reason, "message": message}
