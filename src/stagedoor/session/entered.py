"""The result of a successful login: an open session, and the ways in which it is carried to its end."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.session import Counts, End, Ended, Opened
from stagedoor.relay.ports import Stream
from stagedoor.session.ports import Link, SessionOwner


class Entered:
    """A session that is open in the audit, with a `stream` to its shell. Only `Flow` makes one.

    Use `carry_by` for a session that lasts as long as a block. Use `carry` to hand the session over to a
    relay that goes on after the task that entered it; the session ends when the relay calls it, exactly
    once, in any thread. Each of thousands of idle sessions holds one of these, hence the slots.
    """

    __slots__ = ("_owner", "opened", "stream")

    def __init__(self, owner: SessionOwner, opened: Opened, stream: Stream) -> None:
        self._owner = owner
        self.opened = opened
        self.stream = stream

    @property
    def grant(self) -> Grant:
        """Return the grant that opened this session."""
        return self.opened.ready.grant

    @contextmanager
    def carry(self) -> Iterator[Callable[[Link], None]]:
        """Hand the session over to a relay that goes on after this block.

            with entered.carry() as hand_over:
                hand_over(relay.start(…, entered.stream, on_end=entered))

        If the block ends without handing over, with or without an error, the session ends. After the
        block, the relay is asked to close as soon as the session must end; at once if it must end now.
        """
        links: list[Link] = []
        try:
            yield links.append
            assert links, "the block hands the session over"
        except BaseException as error:
            if not links:
                self.stream.abort()
                self.leave(describe_failed_hand_over(error))
            raise
        self._owner.attach(self.opened, links[0])

    @contextmanager
    def carry_by(
        self, link: Link, outcome: Callable[[BaseException | None], Ended]
    ) -> Iterator[None]:
        """Let `link` carry the session for as long as the block lasts.

        `outcome` returns how the session ended, given what the block raised.
        """
        error: BaseException | None = None
        try:
            self._owner.attach(self.opened, link)
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.leave(outcome(error))

    def leave(self, ended: Ended) -> None:
        """End the session in the audit. Never blocks."""
        self._owner.leave(self.opened, ended)

    def __call__(self, ended: Ended) -> None:
        """Do as `leave` does. A tunnel keeps the session itself: its bound method would be 64 bytes more."""
        self.leave(ended)

    def release(self, counts: Counts) -> None:
        """Leave the session to another connection or process, in which it goes on. `counts` are its bytes."""
        self._owner.release(self.opened, counts)

    def give_up(self, why: str) -> None:
        """End a session that was opened but cannot be carried, because of `why`."""
        self.stream.abort()
        self.leave(Ended(End.UNREACHED, detail=why))


def describe_failed_hand_over(error: BaseException) -> Ended:
    """Return the end of a session that could not be handed over because of `error`."""
    match error:
        case asyncio.CancelledError():
            return Ended(End.UNREACHED, detail="the gateway stopped")
        case OSError():
            return Ended(End.UNREACHED, detail="the developer's side hung up")
    return Ended(End.FAULT, detail=Denial.of_fault().message)
