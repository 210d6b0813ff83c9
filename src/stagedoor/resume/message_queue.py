"""The outgoing messages of one side of a control connection, which wait while the other side is busy."""

import errno
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable

from stagedoor.resume.messages import send

MAX_QUEUED_BYTES = 4 * 1024 * 1024
"""The most memory of the messages that wait. It suffices for the ends of about 30,000 sessions."""
STALE_S = 30.0
"""How long a worker may read nothing while messages wait for it. Then the endpoint drops it, and offers its
sessions to others."""


class MessageQueue:
    """The messages for the other side of `sock`, which does not block.

    A message that the socket does not accept waits. `watch` is called with True when messages begin to wait:
    then call `flush` whenever the socket is writable, until `watch` is called with False.
    """

    def __init__(self, sock: socket.socket, watch: Callable[[bool], None]) -> None:
        self.sock = sock
        self._watch = watch
        self._lines: deque[str] = deque()
        self._bytes = 0
        self._moved_at = 0.0
        """When a message was last sent, or when the first one began to wait."""

    def __len__(self) -> int:
        return len(self._lines)

    def send(self, line: str, fds: tuple[int, ...] = ()) -> None:
        """Send a message after those that wait. One with descriptors cannot wait, since they may be closed.

        Raises OSError if the message can neither be sent nor wait.
        """
        if not self._lines and self._is_sent(line, fds):
            return
        size = sys.getsizeof(line)
        if fds or self._bytes + size > MAX_QUEUED_BYTES:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if not self._lines:
            self._moved_at = time.monotonic()
            self._watch(True)
        self._lines.append(line)
        self._bytes += size

    def flush(self) -> None:
        """Send the messages that wait, as many as the socket accepts. Raises OSError."""
        while self._lines and self._is_sent(self._lines[0]):
            self._bytes -= sys.getsizeof(self._lines.popleft())
            self._moved_at = time.monotonic()
        if not self._lines:
            self._watch(False)

    def is_stale(self, now: float) -> bool:
        """Return whether messages wait and none was sent for `STALE_S` seconds."""
        return bool(self._lines) and now - self._moved_at >= STALE_S

    def _is_sent(self, line: str, fds: tuple[int, ...] = ()) -> bool:
        """Send a message unless the socket is full. Return whether it was sent. Raises OSError."""
        try:
            send(self.sock, line, fds)
        except BlockingIOError:
            return False
        return True
