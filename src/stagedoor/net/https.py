"""HTTP requests to a server that the settings name, now and then. By httpcore."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import httpcore

from stagedoor.model.errors import SettingsError
from stagedoor.net.tls import client_context

ANSWER_LIMIT_S = 10.0
ANSWER_LIMIT_BYTES = 256 * 1024


class NoAnswerError(Exception):
    """No whole answer has come. The message says why, in one line."""


class Https:
    """Belongs to one event loop. Keeps no connection. Follows no redirects: an endpoint is where the settings
    say it is.

    `ca_file` has the authorities to trust (PEM) instead of the system's.
    """

    def __init__(self, ca_file: Path | None = None) -> None:
        """Raises SettingsError for a file that cannot be read."""
        try:
            context = client_context(ca_file)
        except OSError as error:
            raise SettingsError(f"cannot read the certificates in {ca_file}: {error}") from None
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context, max_connections=8, max_keepalive_connections=0
        )

    async def ask(
        self, method: str, url: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> tuple[int, bytes]:
        """The status and the body, at most 256 KiB within 10 s. Raises NoAnswerError."""
        origin = url.partition("?")[0]
        try:
            async with (
                asyncio.timeout(ANSWER_LIMIT_S),
                self._pool.stream(
                    method, url, headers=list(headers), content=body or None
                ) as answer,
            ):
                received = bytearray()
                async for part in answer.aiter_stream():
                    received += part
                    if len(received) > ANSWER_LIMIT_BYTES:
                        raise NoAnswerError(
                            f"{origin}: the answer is larger than {ANSWER_LIMIT_BYTES} bytes"
                        )
                return answer.status, bytes(received)
        except (TimeoutError, httpcore.TimeoutException):
            why = f"no answer within {ANSWER_LIMIT_S:g} s"
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            why = str(error) or "the connection broke off"
        raise NoAnswerError(f"{origin}: {why}") from None
