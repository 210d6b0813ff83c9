"""The pump: bytes go through our hands, by each end's own `recv` and `send`.

For TLS, whose bytes the kernel cannot move, and for machines without splice.
"""

from stagedoor.relay.limits import RelayLimits
from stagedoor.relay.tunnel import Flow, SinkError, SourceError


class Pump:
    """Moves flows; holds no state of theirs."""

    __slots__ = ("_chunk", "_turn")

    def __init__(self, limits: RelayLimits) -> None:
        self.apply(limits)

    def apply(self, limits: RelayLimits) -> None:
        self._chunk = limits.chunk_bytes
        self._turn = limits.turn_bytes

    def move(self, flow: Flow) -> bool | None:
        """Move what can be moved in one turn.

        True: there may be more, call again. False: the source is dry or the sink is `blocked`;
        an event will tell. None: the source's end was read. Raises SourceError or SinkError.
        """
        left = self._turn
        send = flow.sink.send
        while True:
            if (flow.rest or flow.blocked) and not push(flow):
                return False
            if left <= 0:
                return True
            try:
                data = flow.source.recv(self._chunk)
            except OSError as error:
                raise SourceError from error
            if data is None:
                return False
            if not data:
                return None
            try:
                taken = send(data)
                flow.blocked = taken < len(data) or not flow.sink.flush()
            except OSError as error:
                raise SinkError from error
            flow.moved += taken
            left -= taken
            if taken < len(data):
                flow.rest = data[taken:]


def push(flow: Flow) -> bool:
    """Hand `rest` to the sink, and make the sink let go of what it holds; whether all is out."""
    try:
        while flow.rest:
            taken = flow.sink.send(flow.rest)
            if not taken:
                flow.blocked = True
                return False
            flow.moved += taken
            # A view, so that what is left of a large early part is not copied each time.
            flow.rest = memoryview(flow.rest)[taken:] if taken < len(flow.rest) else b""
        flow.blocked = not flow.sink.flush()
    except OSError as error:
        raise SinkError from error
    return not flow.blocked


def leave(flow: Flow) -> bool:
    """Tell the sink that no more will come (half-close); whether it holds nothing back."""
    try:
        flow.sink.shutdown_write()
        return flow.sink.flush()
    except OSError as error:
        raise SinkError from error
