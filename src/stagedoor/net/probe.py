"""A page of an HTTP server on this machine; for commands, which may block."""

import http.client
from contextlib import closing

MOST_BYTES = 1024 * 1024


def fetch_page(host: str, port: int, path: str, timeout_s: float) -> tuple[int, str]:
    """Return the status and the body, at most 1 MiB. Raises OSError, ValueError.

    A `host` of "" or a wildcard stands for this machine.
    """
    at = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    with closing(http.client.HTTPConnection(at, port, timeout=timeout_s)) as connection:
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read(MOST_BYTES).decode()
        except http.client.HTTPException as error:
            raise ValueError(f"{type(error).__name__}: no HTTP is spoken there") from None
