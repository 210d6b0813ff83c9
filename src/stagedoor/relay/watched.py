"""The tunnels of a relay: it watches their streams, moves their bytes, and ends each tunnel once.

All of it runs in the relay's thread, except `WatchedTunnels.watch`.
"""

import contextlib
import errno
import logging
import os
import threading
from collections import deque
from collections.abc import Callable

from stagedoor.model.denial import Denial
from stagedoor.model.farewell import FAREWELL_S
from stagedoor.model.session import EndReason, SessionResult
from stagedoor.relay.poller import Poller
from stagedoor.relay.pump import Pump, pass_on_refusal, push, shutdown_sink
from stagedoor.relay.splice import Splice
from stagedoor.relay.state import Side, Stage, judge_failure
from stagedoor.relay.tunnel import Direction, SinkError, SourceError, Tunnel

log = logging.getLogger(__name__)

# Looking up a member of an Enum would cost more than everything else that we add to a keystroke (Python
# 3.11).
_OPEN, _SHUT, _ENDED = Stage.OPEN, Stage.SHUT, Stage.ENDED

_LAST_TURNS = 16
_NORMAL_ENDS = (EndReason.CLOSED, EndReason.UNREACHED)


class ClosedStream:
    """A stream in place of a closed upstream. It drops what it receives, and sends nothing."""

    spliceable = False

    def fileno(self) -> int:
        """Return -1: there is no descriptor."""
        return -1

    def recv(self, limit: int) -> bytes | None:
        """Return the end of the stream."""
        return b""

    def send(self, data: bytes | memoryview) -> int:
        """Accept all of `data`, and drop it."""
        return len(data)

    def flush(self) -> bool:
        """Return True, because nothing is held back."""
        return True

    def shutdown_write(self) -> None:
        """Do nothing."""

    def error(self) -> int:
        """Return 0: there is no error."""
        return 0

    def abort(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class WatchedTunnels:
    """The tunnels that have not ended. `lock` guards `active`, and the closing of descriptors.

    `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        poller: Poller,
        splicing: Splice,
        pump: Pump,
        lock: threading.Lock,
        clock: Callable[[], float],
    ) -> None:
        self._poller = poller
        self._splice = splicing
        self._pump = pump
        self._lock = lock
        self._clock = clock
        self.active: set[Tunnel] = set()
        self.directions: list[Direction | None] = []
        """By the descriptor of their source."""
        self.unfinished: set[Direction] = set()
        """The directions that have more to move after their turn."""
        self.refusing: deque[tuple[float, Tunnel]] = deque()
        """The tunnels whose upstream refused, with the time at which each is closed, the earliest first."""

    def watch(self, tunnel: Tunnel) -> None:
        """Watch both ends. Raises OSError."""
        for direction in tunnel.directions:
            fd = direction.source_fd
            if fd < 0:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            if fd >= len(self.directions):
                self.directions.extend([None] * (fd + 1 - len(self.directions)))
            self.directions[fd] = direction
        for direction in tunnel.directions:
            self._poller.add(direction.source_fd)

    def end_unwatched(self, tunnel: Tunnel, error: OSError) -> None:
        """End a tunnel that cannot be watched."""
        self.finish(tunnel, EndReason.FAULT, f"cannot watch it: {error.strerror}")

    def begin(self, tunnel: Tunnel) -> None:
        """Move the bytes from before the watch: early ones, and those that TLS has already decrypted."""
        for direction in tunnel.directions:
            self.move_direction(direction)

    def move_direction(self, direction: Direction) -> None:
        """Move bytes in one direction, and end the direction or the tunnel if it is finished."""
        tunnel = direction.tunnel
        try:
            if direction.stage is _OPEN:
                more = (
                    self._splice.move(direction)
                    if tunnel.is_spliced
                    else self._pump.move(direction)
                )
                if more:
                    self.unfinished.add(direction)
                elif more is None:
                    if why := pass_on_refusal(direction):
                        self._close_refusing_upstream(tunnel, why)
                        return
                    direction.stage = _SHUT
                    # close(2), which follows at once, sends the FIN of the direction that ends last.
                    last = tunnel.is_spliced and direction.twin.stage is _ENDED
                    direction.is_blocked = not (last or shutdown_sink(direction))
            elif direction.stage is _SHUT:
                direction.is_blocked = not push(direction)
            if direction.stage is _SHUT and not direction.is_blocked:
                direction.stage = _ENDED
                if direction.twin.stage is _ENDED:
                    self.finish(tunnel, EndReason.CLOSED)
                    return
            if direction.is_blocked:
                self._poller.watch_sink(direction)
        except SourceError as error:
            self._fail(direction, error.__cause__)
        except SinkError as error:
            self._fail(direction.twin, error.__cause__)
        except Exception:  # a fault in one tunnel must not end the others
            log.exception("relay: a tunnel ended by an internal fault")
            self.finish(tunnel, EndReason.FAULT, Denial.of_fault().message)

    def fail_by_error(self, direction: Direction) -> None:
        """Fail the direction with its socket's error, unless reading or writing has reported it."""
        number = direction.source.error()
        if number:
            self._fail(direction, OSError(number, os.strerror(number)))

    def _fail(self, direction: Direction, error: BaseException | None) -> None:
        """End the tunnel of a source that failed, and reset the other stream.

        Bytes that the source sent before are delivered first, if the other stream accepts them, as without a
        gateway.
        """
        tunnel = direction.tunnel
        move = self._splice.move if tunnel.is_spliced else self._pump.move
        direction.reads_until_empty = True
        with contextlib.suppress(SourceError, SinkError, OSError):
            for _ in range(_LAST_TURNS):
                if direction.stage is not _OPEN or direction.is_blocked or not move(direction):
                    break
        if why := pass_on_refusal(direction):
            self._close_refusing_upstream(tunnel, why)
            return
        number = error.errno if isinstance(error, OSError) else None
        self.finish(tunnel, judge_failure(direction.side, number), _describe(direction.side, error))

    def _close_refusing_upstream(self, tunnel: Tunnel, why: str) -> None:
        """Close an upstream that has refused. Downstream stays until it has read why, for a limited time.

        ssh(1) writes its next message before it reads. If that write failed, ssh would never read the reason,
        so the bytes that it still sends are accepted and dropped.
        """
        tunnel.refusal = why
        for direction in tunnel.directions:
            self._release(direction)
        to_downstream = tunnel.to_downstream
        self._unwatch(to_downstream)
        with self._lock, contextlib.suppress(OSError):
            to_downstream.source.abort()
        to_downstream.source = ClosedStream()
        to_downstream.source_fd = -1
        tunnel.is_spliced = False
        to_downstream.stage = _SHUT  # downstream may still hold a part of the explanation
        self.refusing.append((self._clock() + FAREWELL_S, tunnel))
        self.move_direction(to_downstream)
        self.move_direction(tunnel.to_upstream)

    def _unwatch(self, direction: Direction) -> None:
        fd = direction.source_fd
        if 0 <= fd < len(self.directions) and self.directions[fd] is direction:
            self.directions[fd] = (
                None  # close(2), which follows at once, ends the watch (epoll(7), Q6)
            )

    def _release(self, direction: Direction) -> None:
        """Release all that the tunnel held."""
        self.unfinished.discard(direction)
        if direction.pipe is not None:
            self._splice.pipes.give(direction.pipe)
            direction.pipe = None
        direction.rest = b""
        direction.is_blocked = False

    def finish(self, tunnel: Tunnel, end: EndReason, detail: str = "") -> None:
        """Close both ends, release all that the tunnel held, and report its end."""
        if tunnel.is_over:
            return
        tunnel.is_over = True
        if tunnel.refusal:
            end, detail = EndReason.UNREACHED, tunnel.refusal
            with contextlib.suppress(SinkError):
                shutdown_sink(tunnel.to_downstream)
        for direction in tunnel.directions:
            self._unwatch(direction)
            self._release(direction)
            direction.stage = _ENDED  # code that still holds the tunnel finds nothing to do
        with self._lock:  # `start` may be about to watch the second end
            for direction in tunnel.directions:
                # A normal end sends FIN, which the kernel delivers after close(2). Any other sends RST, so
                # that no peer takes a part for the whole.
                with contextlib.suppress(OSError):
                    direction.source.close() if end in _NORMAL_ENDS else direction.source.abort()
        self.active.discard(tunnel)
        on_end, tunnel.on_end = tunnel.on_end, _ignore_end
        try:
            on_end(SessionResult(end, tunnel.read_counts(), detail))
        except Exception:  # a fault in the caller's code must not end the other tunnels
            log.exception("relay: the owner of a tunnel failed at its end")


def _ignore_end(_: SessionResult) -> None:
    """Do nothing. It replaces an `on_end` that was called, so that what that refers to is released."""


def _describe(side: Side, error: BaseException | None) -> str:
    said = (isinstance(error, OSError) and error.strerror) or str(error)
    return f"{side.value}: {said}"
