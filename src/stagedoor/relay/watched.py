"""The tunnels of a relay: their ends are watched, their bytes move, and each is ended once.

All of it runs in the relay's thread, but for `WatchedTunnels.watch`.
"""

import contextlib
import errno
import logging
import os
import threading
from collections import deque
from collections.abc import Callable

from stagedoor.model.denial import Denial
from stagedoor.model.session import End, Ended
from stagedoor.relay.poller import Poller
from stagedoor.relay.pump import Pump, leave, push, refuse
from stagedoor.relay.splice import Splice
from stagedoor.relay.state import TRANSITIONS, Side, Stage, Step, is_over, judge_failure
from stagedoor.relay.tunnel import Direction, SinkError, SourceError, Tunnel
from stagedoor.wire.ssh.preface import PARTING_S

log = logging.getLogger(__name__)

# Looking a member up in its Enum costs more than all else that we add to a keystroke (Python 3.11).
_OPEN, _SHUT = Stage.OPEN, Stage.SHUT

_LAST_TURNS = 16
_IN_ORDER = (End.CLOSED, End.UNREACHED)

FAULT = Denial.of_fault().message


class RefusedTunnels(deque[tuple[float, Tunnel]]):
    """Tunnels whose upstream refused, each behind the instant until which it stays; the earliest first.

    Instants are monotonic seconds. A deque itself, since the relay asks at each turn whether it is empty.
    """

    def add(self, tunnel: Tunnel, now: float) -> None:
        """Give a tunnel time for its last words to arrive."""
        self.append((now + PARTING_S, tunnel))

    def wait_s(self, now: float) -> float:
        """Return how many seconds the first one still has."""
        return max(0.0, self[0][0] - now)

    def take_due(self, now: float) -> list[Tunnel]:
        """Return the tunnels whose time is over, and forget them."""
        due = []
        while self and self[0][0] <= now:
            due.append(self.popleft()[1])
        return due


class ClosedStream:
    """In the place of an upstream that has gone: takes everything, and has nothing to say."""

    spliceable = False

    def fileno(self) -> int:
        """Return -1: there is no descriptor."""
        return -1

    def recv(self, limit: int) -> bytes | None:
        """Return the end of the stream."""
        return b""

    def send(self, data: bytes | memoryview) -> int:
        """Take all, and drop it."""
        return len(data)

    def flush(self) -> bool:
        """Return True: nothing is held back."""
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
        """Directions that had more to move when their turn was over."""
        self.refused = RefusedTunnels()

    def watch(self, tunnel: Tunnel) -> None:
        """Watch both ends. Raises OSError."""
        ways = (tunnel.sent, tunnel.received)
        for direction in ways:
            fd = direction.source_fd
            if fd < 0:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            if fd >= len(self.directions):
                self.directions.extend([None] * (fd + 1 - len(self.directions)))
            self.directions[fd] = direction
        for direction in ways:
            self._poller.add(direction.source_fd)

    def adopt(self, tunnel: Tunnel) -> None:
        """Watch a tunnel in the relay's thread, and move what it has already."""
        if tunnel.over:  # the sweep was faster
            return
        try:
            self.watch(tunnel)
        except OSError as error:
            self.end_unwatched(tunnel, error)
        else:
            self.begin(tunnel)

    def end_unwatched(self, tunnel: Tunnel, error: OSError) -> None:
        """End a tunnel that cannot be watched."""
        self.finish(tunnel, End.FAULT, f"cannot watch it: {error.strerror}")

    def begin(self, tunnel: Tunnel) -> None:
        """Move what came before we watched: early bytes, and what TLS has deciphered already."""
        for direction in (tunnel.sent, tunnel.received):
            self.pump(direction)

    def pump(self, direction: Direction) -> None:
        """Move what can be moved in one direction, and see whether it, or all, has ended."""
        tunnel = direction.tunnel
        try:
            if direction.stage is _OPEN:
                more = (
                    self._splice.move(direction) if tunnel.spliced else self._pump.move(direction)
                )
                if more:
                    self.unfinished.add(direction)
                elif more is None:
                    if why := refuse(direction):
                        self._part(tunnel, why)
                        return
                    direction.stage = TRANSITIONS[direction.stage, Step.END_READ]
                    # close(2), which follows at once, sends the last end of plain TCP.
                    last = tunnel.spliced and direction.twin.stage is Stage.ENDED
                    direction.blocked = not (last or leave(direction))
            elif direction.stage is _SHUT:
                direction.blocked = not push(direction)
            if direction.stage is _SHUT and not direction.blocked:
                direction.stage = TRANSITIONS[direction.stage, Step.FLUSHED]
                if is_over(tunnel.sent.stage, tunnel.received.stage):
                    self.finish(tunnel, End.CLOSED)
                    return
            if direction.blocked or self._poller.level:
                self._poller.settle(direction)
        except SourceError as error:
            self._fail(direction, error.__cause__)
        except SinkError as error:
            self._fail(direction.twin, error.__cause__)
        except Exception:  # one tunnel's fault must not take the others with it
            log.exception("relay: a tunnel ended by an internal fault")
            self.finish(tunnel, End.FAULT, FAULT)

    def fail_by_error(self, direction: Direction) -> None:
        """Fail the direction by its socket's error, unless reading or writing has reported it already."""
        number = direction.source.error()
        if number:
            self._fail(direction, OSError(number, os.strerror(number)))

    def _fail(self, direction: Direction, error: BaseException | None) -> None:
        """End the tunnel of a failed source: RST goes to the other end, as it came from this one.

        What it had sent before, and we had not read, still goes first if the other end takes it,
        as it would without a gateway between.
        """
        tunnel = direction.tunnel
        move = self._splice.move if tunnel.spliced else self._pump.move
        direction.eager = True
        with contextlib.suppress(SourceError, SinkError, OSError):
            for _ in range(_LAST_TURNS):
                if direction.stage is not _OPEN or direction.blocked or not move(direction):
                    break
        if why := refuse(direction):
            self._part(tunnel, why)
            return
        number = error.errno if isinstance(error, OSError) else None
        self.finish(tunnel, judge_failure(direction.side, number), _words(direction.side, error))

    def _part(self, tunnel: Tunnel, why: str) -> None:
        """Leave an upstream that has refused; downstream stays until it has read why, or its time is over.

        ssh(1) writes its next message first: if that failed then it would never read this one. So
        what it still sends is taken, and dropped.
        """
        tunnel.refused = why
        sent, received = tunnel.sent, tunnel.received
        for direction in (sent, received):
            self._release(direction)
        self._unwatch(received)
        with self._lock, contextlib.suppress(OSError):
            received.source.abort()
        received.source = ClosedStream()
        received.source_fd = -1
        tunnel.spliced = False
        # It may still hold a part of the explanation.
        received.stage = TRANSITIONS[Stage.OPEN, Step.END_READ]
        self.refused.add(tunnel, self._clock())
        self.pump(received)
        self.pump(sent)

    def _unwatch(self, direction: Direction) -> None:
        fd = direction.source_fd
        if 0 <= fd < len(self.directions) and self.directions[fd] is direction:
            self.directions[fd] = None
            with contextlib.suppress(OSError):
                self._poller.remove(fd)

    def _release(self, direction: Direction) -> None:
        """Release all that the tunnel held."""
        self.unfinished.discard(direction)
        if direction.pipe is not None:
            self._splice.pipes.give(direction.pipe)
            direction.pipe = None
        direction.rest = b""
        direction.blocked = False

    def finish(self, tunnel: Tunnel, end: End, detail: str = "") -> None:
        """Close both ends, release all that the tunnel held, and report its end."""
        if tunnel.over:
            return
        tunnel.over = True
        if tunnel.refused:
            end, detail = End.UNREACHED, tunnel.refused
            with contextlib.suppress(SinkError):
                leave(tunnel.received)
        for direction in (tunnel.sent, tunnel.received):
            self._unwatch(direction)
            self._release(direction)
            direction.stage = Stage.ENDED  # code that still has it in hand finds nothing to do
        with self._lock:  # `start` may be about to have the second end watched
            for direction in (tunnel.sent, tunnel.received):
                # In order means FIN, which close(2) leaves to the kernel to deliver; all else is
                # RST, so that no peer takes a part for the whole.
                with contextlib.suppress(OSError):
                    direction.source.close() if end in _IN_ORDER else direction.source.abort()
        self.active.discard(tunnel)
        on_end, tunnel.on_end = tunnel.on_end, _ignore_end
        try:
            on_end(Ended(end, tunnel.read_counts(), detail))
        except Exception:  # the holder's fault must not take the other tunnels with it
            log.exception("relay: the holder of a tunnel failed at its end")


def _ignore_end(_: Ended) -> None:
    """Do nothing, in the place of an `on_end` that was called, so that its holder is released."""


def _words(side: Side, error: BaseException | None) -> str:
    said = (isinstance(error, OSError) and error.strerror) or str(error)
    return f"{side.value}: {said}"
