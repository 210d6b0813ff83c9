"""Sending a file in pieces, as long as the user may read it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from starlette.responses import Response, StreamingResponse
from starlette.types import Send

_PIECE_BYTES = 64 * 1024


def send_file(
    path: Path,
    length: int,
    is_still_allowed: Callable[[], bool],
    headers: Mapping[str, str],
    *,
    first: int = 0,
    status: int = 200,
) -> Response:
    """Return an answer with `length` bytes of a file, from `first` on.

    Sending it stops, and the connection is cut, once `is_still_allowed` returns False or if the file has
    become shorter.
    """
    pieces = _read_pieces(path, first, length, is_still_allowed)
    return _ExactLengthResponse(pieces, status, {**headers, "content-length": str(length)})


async def _read_pieces(
    path: Path, first: int, length: int, is_still_allowed: Callable[[], bool]
) -> AsyncIterator[bytes]:
    fd = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while length > 0 and is_still_allowed():
            piece = await asyncio.to_thread(os.pread, fd, min(length, _PIECE_BYTES), first)
            if not piece:
                return  # the file became shorter
            yield piece
            first += len(piece)
            length -= len(piece)
    finally:
        os.close(fd)


class _ExactLengthResponse(StreamingResponse):
    """A response that hangs up if its bytes end early, so that the client sees an incomplete body."""

    async def stream_response(self, send: Send) -> None:
        """Send the head and the bytes; end the body only if all announced bytes were sent."""
        head = {"type": "http.response.start", "status": self.status_code}
        await send({**head, "headers": self.raw_headers})
        left = int(self.headers["content-length"])
        async for piece in self.body_iterator:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            left -= len(piece)
        if left == 0:
            await send({"type": "http.response.body", "body": b""})
