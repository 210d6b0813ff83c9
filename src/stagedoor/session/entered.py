"""The last proof of the flow: a session that is open, until its listener gives it up."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.session import End, Ended, Opened
from stagedoor.relay.ports import Stream
from stagedoor.session.ports import Link

if TYPE_CHECKING:
    from stagedoor.session.flow import Flow


class Entered:
    """A session that is open in the audit, with a stream to its shell. Made by `Flow` only.

    Its owner carries `stream`, says so with `carried_by`, and calls `leave` exactly once, in
    any thread, when that is over. Thousands of idle sessions hold one each, hence the slots.
    """

    __slots__ = ("_flow", "opened", "stream")

    def __init__(self, flow: "Flow", opened: Opened, stream: Stream) -> None:
        self._flow = flow
        self.opened = opened
        self.stream = stream

    @property
    def grant(self) -> Grant:
        """By what this session was let in."""
        return self.opened.ready.grant

    def carried_by(self, link: Link) -> None:
        """From now on `link` is asked to close when the session has to end; at once if it has to now."""
        self._flow.registry.attach(self.opened, link)

    def leave(self, ended: Ended) -> None:
        """The session is over. Never blocks."""
        self._flow.leave(self.opened, ended)

    def give_up(self, why: str) -> None:
        """End a session that was opened, but cannot be carried."""
        self.stream.abort()
        self.leave(Ended(End.UNREACHED, detail=why))

    @contextmanager
    def handing_over(self) -> Iterator[None]:
        """Around the lines that hand `stream` to a relay: if they raise, the session ends here."""
        try:
            yield
        except BaseException as error:
            self.stream.abort()
            self.leave(never_carried(error))
            raise


def never_carried(error: BaseException) -> Ended:
    """How a session ends that nobody came to carry."""
    match error:
        case asyncio.CancelledError():
            return Ended(End.UNREACHED, detail="the gateway stopped")
        case OSError():
            return Ended(End.UNREACHED, detail="the developer's side hung up")
    return Ended(End.FAULT, detail=Denial.internal().message)
