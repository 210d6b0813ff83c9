"""HTTPS POST of much and often, over a connection that is kept. By httpcore, from any thread."""

from collections.abc import Sequence
from pathlib import Path

import httpcore

from stagedoor.model.errors import SettingsError, StagedoorError
from stagedoor.model.secure_url import shown_url
from stagedoor.net.tls import client_context

WAIT_S = 10.0
"""For a connection, and for each part of an answer."""
ANSWER_LIMIT_BYTES = 64 * 1024


class HttpsPost:
    """Follows no redirects: the endpoint is where the settings say it is."""

    def __init__(self, url: str, ca_file: Path | None) -> None:
        """Raises SettingsError for a file that cannot be read."""
        try:
            context = client_context(ca_file)
        except OSError as error:
            raise SettingsError(f"audit.sinks.ca_file: {ca_file} cannot be used: {error}") from None
        self._url = url
        self._shown = shown_url(url)
        self._pool = httpcore.ConnectionPool(ssl_context=context, max_connections=1)

    def send(self, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Returns once the server has answered that it has taken it (2xx). Raises StagedoorError."""
        waits = dict.fromkeys(("connect", "read", "write", "pool"), WAIT_S)
        try:
            with self._pool.stream(
                "POST",
                self._url,
                headers=list(headers),
                content=body,
                extensions={"timeout": waits},
            ) as answer:
                received = 0
                for part in answer.iter_stream():
                    received += len(part)
                    if received > ANSWER_LIMIT_BYTES:
                        break
                status = answer.status
        except httpcore.TimeoutException:
            raise StagedoorError(f"{self._shown}: no answer within {WAIT_S:g} s") from None
        except httpcore.LocalProtocolError:
            # Its own message has the header in it, and so a secret.
            raise StagedoorError(
                f"{self._shown}: the request has a header that may not be sent"
            ) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            why = str(error) or "the connection broke off"
            raise StagedoorError(f"{self._shown}: {why}") from None
        if not 200 <= status < 300:
            raise StagedoorError(f"{self._shown}: it answered {status}")

    def close(self) -> None:
        self._pool.close()
