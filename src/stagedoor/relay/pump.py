"""The pump, which copies bytes with each stream's `recv` and `send`, for TLS."""

import contextlib

from stagedoor.relay.limits import RelayLimits
from stagedoor.relay.tunnel import Direction, SinkError, SourceError


class Pump:
    """A mover of bytes by copying. It keeps no state."""

    __slots__ = ("_chunk", "_turn")

    def __init__(self, limits: RelayLimits) -> None:
        self._chunk = limits.chunk_bytes
        self._turn = limits.turn_bytes

    def move(self, direction: Direction) -> bool | None:
        """Move the bytes of one turn.

        Return True if there may be more, so that the caller calls again; False if the source is empty or the
        sink `is_blocked`, so that an event follows; None if the source's end was read. Raises SourceError or
        SinkError.
        """
        left = self._turn
        send = direction.sink.send
        while True:
            if (direction.rest or direction.is_blocked) and not push(direction):
                return False
            if left <= 0:
                return True
            try:
                data = direction.source.recv(self._chunk)
            except OSError as error:
                raise SourceError from error
            if data is None:
                return False
            if not data:
                return None
            if direction.tunnel.preface is not None:
                direction.tunnel.feed_preface(direction, data)
            try:
                taken = send(data)
                direction.is_blocked = taken < len(data) or not direction.sink.flush()
            except OSError as error:
                raise SinkError from error
            direction.moved += taken
            left -= taken
            if taken < len(data):
                direction.rest = data[taken:]


def push(direction: Direction) -> bool:
    """Send `rest` to the sink, and flush the sink. Return whether everything was sent."""
    try:
        while direction.rest:
            taken = direction.sink.send(direction.rest)
            if not taken:
                direction.is_blocked = True
                return False
            direction.moved += taken
            # A view, so that the rest of a large early part is not copied each time.
            direction.rest = (
                memoryview(direction.rest)[taken:] if taken < len(direction.rest) else b""
            )
        direction.is_blocked = not direction.sink.flush()
    except OSError as error:
        raise SinkError from error
    return not direction.is_blocked


def pass_on_refusal(direction: Direction) -> str:
    """Explain to the sink why the source refused logins and hangs up. Return the reason, "" if unknown.

    The explanation is sent once, and cut off if the sink does not accept all of it.
    """
    tunnel = direction.tunnel
    if direction is tunnel.to_upstream:
        return ""  # only upstream has a preface
    preface, tunnel.preface = tunnel.preface, None
    denial = None if preface is None or direction.rest else preface.find_refusal()
    if preface is None or denial is None:
        return ""
    with contextlib.suppress(OSError):
        direction.moved += direction.sink.send(preface.make_farewell(denial.line))
        direction.sink.flush()
    return denial.message


def shutdown_sink(direction: Direction) -> bool:
    """Half-close the sink. Return whether it has sent everything."""
    try:
        direction.sink.shutdown_write()
        return direction.sink.flush()
    except OSError as error:
        raise SinkError from error
