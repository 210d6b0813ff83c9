"""The result of a successful login: an open session, which its caller carries to its end."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.session import (
    HUNG_UP,
    Counts,
    EndReason,
    OpenedSession,
    SessionResult,
    explain_cancellation,
)
from stagedoor.relay.ports import Stream
from stagedoor.session.ports import RelayHandle, SessionOwner


class EnteredSession:
    """A session that is open in the audit, with a `stream` to its shell. Only `Flow` creates one.

    Use `carry` for a session that lasts as long as a block. Use `transfer` to hand the session over to a
    relay that outlives the task that entered it; the relay calls `end`, or this object itself, exactly once,
    in any thread. There is one for each of thousands of idle sessions, hence the slots.
    """

    __slots__ = ("_owner", "opened", "stream")

    def __init__(self, owner: SessionOwner, opened: OpenedSession, stream: Stream) -> None:
        self._owner = owner
        self.opened = opened
        self.stream = stream

    @property
    def grant(self) -> Grant:
        """Return the grant that opened this session."""
        return self.opened.ready.grant

    @contextmanager
    def transfer(self) -> Iterator[Callable[[RelayHandle], None]]:
        """Hand the session over to a relay that outlives this block.

            with entered.transfer() as hand_over:
                hand_over(relay.start(…, entered.stream, on_end=entered))

        If the block ends without handing over, with or without an error, the session ends. After a block that
        has handed over, the relay is asked to close as soon as the session must end, which may be at once.
        """
        handles: list[RelayHandle] = []
        try:
            yield handles.append
            assert handles, "the block hands the session over"
        except BaseException as error:
            if not handles:
                self.stream.abort()
                self.end(describe_failed_entry(error))
            raise
        finally:
            if handles:
                self._owner.attach(self.opened, handles[0])

    @contextmanager
    def carry(
        self, handle: RelayHandle, outcome: Callable[[BaseException | None], SessionResult]
    ) -> Iterator[None]:
        """Carry the session with `handle` for the length of the block.

        `outcome` takes the exception of the block, or None, and returns how the session ended.
        """
        error: BaseException | None = None
        try:
            self._owner.attach(self.opened, handle)
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.end(outcome(error))

    def end(self, ended: SessionResult) -> None:
        """End the session in the audit. Never blocks."""
        self._owner.close_session(self.opened, ended)

    __call__ = end  # for relays: the bound method would take 64 bytes more in each idle session

    def release(self, counts: Counts) -> None:
        """Stop carrying the session here: it continues elsewhere. `counts` are its bytes."""
        self._owner.release(self.opened, counts)

    def give_up(self, why: str) -> None:
        """End a session that was opened but cannot be carried; `why` is the reason."""
        self.stream.abort()
        self.end(SessionResult(EndReason.UNREACHED, detail=why))


def describe_failed_entry(error: BaseException) -> SessionResult:
    """Return the end of a session that `error` kept from being handed over."""
    if isinstance(error, OSError):
        return SessionResult(EndReason.UNREACHED, detail=HUNG_UP)
    return describe_failed_connect(error)


def describe_failed_connect(error: BaseException) -> SessionResult:
    """Return the end of a session that `error` kept from being connected to its shell."""
    if isinstance(error, asyncio.CancelledError):
        return SessionResult(EndReason.UNREACHED, detail=explain_cancellation(error))
    return SessionResult(EndReason.FAULT, detail=Denial.of_fault().message)
