"""Splice: between two plain TCP ends the kernel moves the bytes (splice(2), Linux).

Small reads, such as a keystroke and its echo, are copied: read(2) and write(2) are cheaper than a pipe's two
system calls and a third that finds the source empty. A read that fills a whole chunk is part of a transfer,
whose pages then move from socket to pipe to socket without being copied.
"""

import os

from stagedoor.relay.limits import RelayLimits
from stagedoor.relay.pipes import PipePool
from stagedoor.relay.pump import push
from stagedoor.relay.tunnel import Direction, SinkError, SourceError


class Splice:
    """A mover of bytes in the kernel, with the pool of pipes."""

    __slots__ = ("_chunk", "_turn", "pipes")

    def __init__(self, limits: RelayLimits) -> None:
        self._chunk = limits.chunk_bytes
        self._turn = limits.turn_bytes
        self.pipes = PipePool(limits.pipe_bytes, limits.pipes)

    def move(self, direction: Direction) -> bool | None:
        """Do as `Pump.move` does."""
        if direction.rest and not push(direction):
            return False
        if direction.pipe is not None and not self._pour(direction):
            return False
        left = self._turn
        while left > 0:
            if direction.is_bulk:
                got = self._splice(direction)
                if got is None or got < 0:
                    return None if got is None else False
                left -= got
                continue
            # The path of a keystroke. It calls none of our functions, because a person waits for each echo.
            try:
                data = os.read(direction.source_fd, self._chunk)
            except BlockingIOError:
                return False
            except OSError as error:
                raise SourceError from error
            if not data:
                return None
            if direction.tunnel.preface is not None:
                direction.tunnel.feed_preface(direction, data)
            try:
                taken = os.write(direction.twin.source_fd, data)
            except BlockingIOError:
                taken = 0
            except OSError as error:
                raise SinkError from error
            direction.moved += taken
            size = len(data)
            if taken < size:
                direction.rest = data[taken:]
                direction.is_blocked = True
                return False
            if size == self._chunk:
                direction.is_bulk = self.pipes.is_ready()
            elif not direction.reads_until_empty:
                # epoll(7), "Edge-triggered and stream-oriented files": a short read means dry.
                return False
            left -= size
        return True

    def _splice(self, direction: Direction) -> int | None:
        """Return the number of bytes moved; -1 if the source is empty or the sink blocks; None at the end."""
        pipe = self.pipes.take()
        if pipe is None:  # all are in use: continue by copying
            direction.is_bulk = False
            return 0
        try:
            got = os.splice(
                direction.source_fd, pipe.write_fd, pipe.size, None, None, os.SPLICE_F_NONBLOCK
            )
        except BlockingIOError:
            self.pipes.give(pipe)
            return -1
        except OSError as error:
            self.pipes.give(pipe)
            raise SourceError from error
        if not got:
            self.pipes.give(pipe)
            return None
        pipe.full = got
        direction.pipe = pipe
        if got < self._chunk:
            direction.is_bulk = False
        return got if self._pour(direction) else -1

    def _pour(self, direction: Direction) -> bool:
        """Empty the direction's pipe into the sink, and give it back. Return False if the sink blocks."""
        pipe = direction.pipe
        assert pipe is not None, "the callers have checked"
        try:
            while pipe.full:
                taken = os.splice(
                    pipe.read_fd,
                    direction.twin.source_fd,
                    pipe.full,
                    None,
                    None,
                    os.SPLICE_F_NONBLOCK,
                )
                pipe.full -= taken
                direction.moved += taken
        except BlockingIOError:
            direction.is_blocked = True
            return False
        except OSError as error:
            raise SinkError from error
        direction.is_blocked = False
        direction.pipe = None
        self.pipes.give(pipe)
        return True
