"""HTTP/1.1 requests (RFC 9112) to servers that the settings name, by h11, one connection for each request.

Nothing is kept between requests. A request that is cancelled or times out closes its connection, and
does not affect the next one.
"""

import asyncio
import os
import ssl
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import h11

from stagedoor.model.errors import SettingsError, StagedoorError
from stagedoor.model.secure_url import show_url
from stagedoor.model.source import is_address
from stagedoor.net.dial import connect_to_first
from stagedoor.net.resolve import Choose, find_addresses
from stagedoor.net.tls import make_client_context

ANSWER_LIMIT_S = 10.0
"""The time limit of a whole request: to wait for a slot, to connect and to receive the whole answer."""
ANSWER_LIMIT_BYTES = 256 * 1024
MAX_CONCURRENT = 8
"""The number of concurrent requests of one `Https`."""
_HEAD_LIMIT_BYTES = 64 * 1024
_CHUNK_BYTES = 64 * 1024

Headers = Sequence[tuple[str, str]]
Trust = ssl.SSLContext
"""The certificate authorities that are trusted, from `load_trust`. Any number of clients may share one."""


class NoAnswerError(Exception):
    """Raised when there is no complete answer. The message is one line, without the URL and headers."""


class Https:
    """A client of one server. At most `MAX_CONCURRENT` requests run concurrently; the others wait.

    It follows no redirects: an endpoint is where the settings say it is. An instance belongs to one
    event loop.
    """

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)

    async def ask(
        self, method: str, url: str, headers: Headers = (), body: bytes = b""
    ) -> tuple[int, bytes]:
        """Return the status and the body of the answer, at most 256 KiB. Raises NoAnswerError."""
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S), self._slots:
                status, answer = await _exchange(self._trust, method, url, headers, body)
        except TimeoutError:
            raise NoAnswerError(f"no answer within {ANSWER_LIMIT_S:g} s") from None
        if len(answer) > ANSWER_LIMIT_BYTES:
            raise NoAnswerError(f"the answer is larger than {ANSWER_LIMIT_BYTES} bytes")
        return status, answer


def load_trust(ca_file: Path | None, setting: str) -> Trust:
    """Return a context that trusts the authorities in `ca_file` (PEM), or the system's if it is None.

    `setting` names the file in messages. Raises SettingsError if the file cannot be read.
    """
    try:
        context = make_client_context(ca_file)
    except OSError as error:
        raise SettingsError(f"{setting}: {ca_file} cannot be used: {error}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def post(
    trust: Trust,
    url: str,
    headers: Headers,
    body: bytes,
    limit_s: float,
    choose: Choose | None = None,
) -> bytes:
    """Send `body` and return the body of the answer. Blocks; for a thread without an event loop.

    `choose` returns those of the server's addresses that may be connected to. None allows all. Raises
    StagedoorError unless an answer with the status 2xx arrives within `limit_s`.
    """

    async def ask() -> tuple[int, bytes]:
        async with asyncio.timeout(limit_s):
            return await _exchange(trust, "POST", url, headers, body, choose)

    try:
        status, answer = asyncio.run(ask())
    except TimeoutError:
        raise StagedoorError(f"{show_url(url)}: no answer within {limit_s:g} s") from None
    except NoAnswerError as error:
        raise StagedoorError(f"{show_url(url)}: {error}") from None
    if not 200 <= status < 300:
        raise StagedoorError(f"{show_url(url)}: it answered {status}")
    return answer


async def _exchange(
    trust: Trust,
    method: str,
    url: str,
    headers: Headers,
    body: bytes,
    choose: Choose | None = None,
) -> tuple[int, bytes]:
    """Return the status and the body. Stop reading after `ANSWER_LIMIT_BYTES` of the body.

    Raises NoAnswerError.
    """
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_LIMIT_BYTES)
    try:
        parts = urlsplit(url)
        request = http.send(_request(method, parts, headers, body)) or b""
    except (ValueError, h11.LocalProtocolError):
        # Its message contains the header, and so a secret.
        raise NoAnswerError("the URL or a header has characters that may not be sent") from None
    for part in (h11.Data(body), h11.EndOfMessage()):
        request += http.send(part) or b""
    try:
        reader, writer = await _connect(trust, parts, choose)
        try:
            writer.write(request)
            with suppress(ConnectionError):  # it may answer before it has read everything
                await writer.drain()
            return await _read_answer(http, reader)
        finally:
            writer.transport.abort()
    except h11.RemoteProtocolError:
        raise NoAnswerError("what answers there does not speak HTTP, or broke off") from None
    except (OSError, UnicodeError) as error:
        raise NoAnswerError(_why(error)) from None


def _request(method: str, parts: SplitResult, headers: Headers, body: bytes) -> h11.Request:
    """Build the request. Raises ValueError, LocalProtocolError."""
    required = [("Host", parts.netloc), ("Connection", "close")]
    if body or method != "GET":
        required.append(("Content-Length", str(len(body))))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return h11.Request(method=method, target=target, headers=[*required, *headers])


async def _connect(
    trust: Trust, parts: SplitResult, choose: Choose | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the server of a URL. Raises OSError, UnicodeError."""
    tls = parts.scheme == "https"
    host = parts.hostname or ""
    port = parts.port or (443 if tls else 80)
    open_connection = partial(
        asyncio.open_connection,
        ssl=trust if tls else None,
        server_hostname=host if tls else None,
        limit=_CHUNK_BYTES,
    )
    # A name may have an address that does not answer beside one that does (RFC 8305).
    if choose is None:
        return await open_connection(
            host, port, happy_eyeballs_delay=None if is_address(host) else 0.25
        )
    addresses = await asyncio.to_thread(find_addresses, host, choose)
    sock = await connect_to_first(addresses, port, ANSWER_LIMIT_S, ANSWER_LIMIT_S)
    return await open_connection(sock=sock)


async def _read_answer(http: h11.Connection, reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read the status and the body. Raises RemoteProtocolError, OSError."""
    status, body = 0, bytearray()
    while len(body) <= ANSWER_LIMIT_BYTES:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(_CHUNK_BYTES))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif not isinstance(event, h11.InformationalResponse):
            break
    return status, bytes(body)


def _why(error: OSError | UnicodeError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, UnicodeError):
        return "that is not the name of a machine"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"no TLS: {error.reason.lower().replace('_', ' ')}"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)  # an unknown name, or one with several addresses
