"""HTTP/1.1 (RFC 9112) to one API: requests over persistent connections, and streams.

A connection carries one exchange at a time. An idle connection is closed here before the API server (after 90
s) or a load balancer (often after 60 s) closes it. A cancelled request closes its connection.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import h11

from stagedoor.kube.access import Access
from stagedoor.kube.credentials import Header
from stagedoor.kube.wire import CHUNK_BYTES, Head, NoApiAnswerError, ReadTimeoutError, Wire, tune
from stagedoor.model.errors import SettingsError
from stagedoor.model.source import is_address
from stagedoor.model.units import MIB

CONNECT_LIMIT_S = 10.0
"""The time limit of a connection attempt, for TCP and TLS together."""

IDLE_LIMIT_S = 30.0

IDLE_CONNECTIONS = 16

BODY_LIMIT_BYTES = 64 * MIB
"""Enough for a page of 500 real objects with some kilobytes each. etcd limits an object to 1.5 MiB."""

_TRUST_HINT = (
    "check certificate-authority in the kubeconfig, or in a pod the service account's ca.crt"
)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request. `path` includes the query; `body` is of `content_type`, or empty.

    Of the answer's body the last `kept_bytes` are kept; None for all.
    """

    method: str
    path: str
    body: bytes = b""
    content_type: str = "application/json"
    accept: str = "application/json"
    kept_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class KubeAnswer(Head):
    """A complete answer."""

    body: bytes


class Http:
    """An HTTP client of one API, for one event loop."""

    def __init__(
        self, access: Access, user_agent: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Create a client. `user_agent` is for the API's audit log. `clock` is monotonic, in seconds."""
        self._access = access
        self._user_agent = user_agent
        self._clock = clock
        self._idle: list[Wire] = []

    async def send(self, request: HttpRequest, limit_s: float) -> KubeAnswer:
        """Send a request, and return its answer of any status within `limit_s`. Raises NoApiAnswerError."""
        try:
            async with asyncio.timeout(limit_s):
                return await self._send_authenticated(request)
        except TimeoutError:
            raise NoApiAnswerError(f"{self._access.address} was silent for {limit_s:g} s") from None

    async def _send_authenticated(self, request: HttpRequest) -> KubeAnswer:
        """Send a request with the credential, and once more with a renewed one if the API refuses it."""
        header = await self._access.credential.make_header()
        answer = await self._exchange(request, header)
        if answer.status == 401 and await self._renew(header):
            answer = await self._exchange(request, await self._access.credential.make_header())
        return answer

    async def _exchange(self, request: HttpRequest, header: Header) -> KubeAnswer:
        kept = self._take()
        if kept is not None:
            try:
                return await self._exchange_on(kept, request, header)
            except NoApiAnswerError as error:
                # The peer may have closed it while we wrote (RFC 9112 §9.3.1), so a repeatable request is
                # sent again.
                if error.begun or request.method == "POST":
                    raise
        return await self._exchange_on(await self._open(), request, header)

    async def _exchange_on(self, wire: Wire, request: HttpRequest, header: Header) -> KubeAnswer:
        try:
            head = await wire.send(self._head(request, header), request.body)
            body, size = bytearray(), 0
            while chunk := await wire.read():
                body += chunk
                size += len(chunk)
                if size > BODY_LIMIT_BYTES:
                    raise NoApiAnswerError(f"the answer is larger than {BODY_LIMIT_BYTES} bytes")
                if request.kept_bytes is not None:
                    del body[: -request.kept_bytes]
        except BaseException:
            wire.abort()
            raise
        self._give_back(wire)
        return KubeAnswer(head.status, head.content_type, head.retry_after, bytes(body))

    @asynccontextmanager
    async def open_stream(
        self, request: HttpRequest, limit_s: float
    ) -> AsyncIterator["HttpStream"]:
        """Open an answer that is read as it arrives, on a connection of its own.

        The head must arrive within `limit_s`. Raises NoApiAnswerError.
        """
        wire: Wire | None = None
        try:
            try:
                async with asyncio.timeout(limit_s):
                    header = await self._access.credential.make_header()
                    wire = await self._open()
                    head = await wire.send(self._head(request, header), b"")
                    if head.status == 401 and await self._renew(header):
                        wire.abort()
                        header = await self._access.credential.make_header()
                        wire = await self._open()
                        head = await wire.send(self._head(request, header), b"")
            except TimeoutError:
                raise NoApiAnswerError(
                    f"{self._access.address} was silent for {limit_s:g} s"
                ) from None
            yield HttpStream(wire, head)
        finally:
            if wire is not None:
                wire.abort()

    def close_connections(self) -> None:
        """Close the idle connections. Callers cancel their own requests."""
        for wire in self._idle:
            wire.abort()
        self._idle.clear()

    def _head(self, request: HttpRequest, header: Header) -> h11.Request:
        headers = [
            ("Host", self._access.address.host_header),
            ("User-Agent", self._user_agent),
            ("Accept", request.accept),
            *self._access.impersonation.make_headers(),
        ]
        if header.authorization:
            headers.append(("Authorization", header.authorization))
        if request.body:
            headers.append(("Content-Type", request.content_type))
        if request.body or request.method != "GET":
            headers.append(("Content-Length", str(len(request.body))))
        return h11.Request(
            method=request.method,
            target=self._access.address.prefix + request.path,
            headers=headers,
        )

    async def _renew(self, refused: Header) -> bool:
        renewed = await self._access.credential.renew(refused)
        if renewed:
            self.close_connections()  # a client certificate takes effect with the next handshake
        return renewed

    def _take(self) -> Wire | None:
        now = self._clock()
        while self._idle:
            wire = self._idle.pop()
            if now - wire.idle_since < IDLE_LIMIT_S and wire.is_usable():
                return wire
            wire.abort()
        return None

    def _give_back(self, wire: Wire) -> None:
        if len(self._idle) < IDLE_CONNECTIONS and wire.start_next_cycle():
            wire.idle_since = self._clock()
            self._idle.append(wire)
        else:
            wire.abort()

    async def _open(self) -> Wire:
        address, trust = self._access.address, self._access.trust
        try:
            context = trust.make_context() if address.tls else None
            async with asyncio.timeout(CONNECT_LIMIT_S):
                reader, writer = await asyncio.open_connection(
                    address.host,
                    address.port,
                    ssl=context,
                    server_hostname=(trust.server_name or address.host) if context else None,
                    # Only for names, since it leaks a socket if cancelled at the wrong moment.
                    happy_eyeballs_delay=None if is_address(address.host) else 0.25,
                    limit=CHUNK_BYTES,
                )
        except TimeoutError:
            why = f"{address} did not connect within {CONNECT_LIMIT_S:g} s"
        except ssl.SSLCertVerificationError as error:
            why = f"{address} is not trusted: {error.verify_message}; {_TRUST_HINT}"
        except ssl.SSLError as error:
            why = f"no TLS with {address}: {(error.reason or str(error)).lower().replace('_', ' ')}"
        except OSError as error:
            why = f"cannot connect to {address}: {error.strerror or error}"
        except SettingsError as error:
            why = str(error)
        else:
            tune(writer)
            return Wire(reader, writer, str(address))
        raise NoApiAnswerError(why) from None


class HttpStream:
    """An answer that is still arriving."""

    def __init__(self, wire: Wire, head: Head) -> None:
        self._wire = wire
        self.head = head

    async def read(self, silence_limit_s: float) -> bytes:
        """Return the next bytes, b"" at the end of the answer.

        Raises NoApiAnswerError if the answer breaks off, ReadTimeoutError if nothing arrives in time.
        """
        try:
            async with asyncio.timeout(silence_limit_s):
                return await self._wire.read()
        except TimeoutError:
            raise ReadTimeoutError(
                f"{self._wire.name} was silent for {silence_limit_s:g} s", begun=True
            ) from None
