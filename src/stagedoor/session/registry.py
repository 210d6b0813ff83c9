"""Who is inside this process now, and how they are asked to leave."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Lock

from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.permission import Permission
from stagedoor.model.session import Counts, End, Opened
from stagedoor.session.ports import Link
from stagedoor.session.revoke import Removal, needed, removal

Judge = Callable[[Grant], Grant | Denial]
"""What the policy as it is now says of a grant's identity and target."""


@dataclass(slots=True)
class _Seat:
    grant: Grant
    """What the session is in by: at first what let it in, later what covers it still."""
    needs: Permission | None
    """What the session is for: it ends when that is not permitted any more."""
    link: Link | None = None
    removal: Removal | None = None
    told: int = 0
    """Bytes, both ways, that were told of it."""


class Registry:
    """Live sessions by id; every method may be called from any thread.

    A session registers before its relay starts, and one that is asked to leave in between
    leaves as soon as there is a link to close. Taking a seat asks the policy once more: a change
    either finds the session seated or is seen by it.
    """

    def __init__(self, judge: Judge, now: Callable[[], float]) -> None:
        """`now` gives seconds since the epoch."""
        self._judge = judge
        self._now = now
        self._seats: dict[str, _Seat] = {}
        self._expiring: set[str] = set()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._seats)

    def ids(self) -> tuple[str, ...]:
        """The sessions that are in."""
        return tuple(self._seats)

    def register(self, opened: Opened, needs: Permission | None = None) -> None:
        with self._lock:
            self._seats[opened.id] = _Seat(opened.ready.grant, needs)
            self._remember(opened.id, opened.ready.grant)

    def attach(self, opened: Opened, link: Link) -> None:
        """The relay runs. If it is over already, or has to be, that is seen to here."""
        found = self._look_at(opened.id)
        with self._lock:
            seat = self._seats.get(opened.id)
            if seat is None:
                return
            seat.link = link
            found = seat.removal or found
            if seat.grant.permissions != opened.ready.grant.permissions:
                link.granted(seat.grant)
        if found is not None:
            link.close(*found)

    def unregister(self, opened: Opened) -> None:
        with self._lock:
            self._seats.pop(opened.id, None)
            self._expiring.discard(opened.id)

    def close(self, session_id: str, end: End, detail: str) -> bool:
        """Ask one session to leave; False if it is not in this process."""
        asked = Removal(end, detail)
        with self._lock:
            seat = self._seats.get(session_id)
            if seat is None:
                return False
            seat.removal = asked
            link = seat.link
        if link is not None:
            link.close(*asked)
        return True

    def close_all(self, end: End, detail: str) -> int:
        """Ask everybody to leave; returns how many there were."""
        everybody = tuple(self._seats)
        return sum(self.close(session_id, end, detail) for session_id in everybody)

    def review(self) -> int:
        """The policy has changed: ask those to leave whom it no longer lets in; returns how many."""
        return self._review(tuple(self._seats))

    def expire(self) -> int:
        """Time has passed: the same for those whose grant ends, or loses a permission, by itself."""
        return self._review(tuple(self._expiring))

    def _review(self, session_ids: tuple[str, ...]) -> int:
        closed = 0
        for session_id in session_ids:
            found = self._look_at(session_id)
            if found is not None:
                closed += self.close(session_id, *found)
        return closed

    def _look_at(self, session_id: str) -> Removal | None:
        """Judge a session again; if it may stay, remember by what and until when, and tell its link."""
        # Judged under the lock: of two threads, the one with the older policy must not have the last word.
        with self._lock:
            seat = self._seats.get(session_id)
            if seat is None:
                return None
            before = seat.grant
            decision = needed(seat.needs, self._judge(before))
            if isinstance(decision, Grant):
                seat.grant = decision
                self._remember(session_id, decision)
                if seat.link is not None and decision.permissions != before.permissions:
                    seat.link.granted(decision)
        return removal(before, decision, self._now())

    def _remember(self, session_id: str, grant: Grant) -> None:
        if grant.expires_at is None and grant.changes_at is None:
            self._expiring.discard(session_id)
        else:
            self._expiring.add(session_id)

    def grants(self) -> dict[str, Grant]:
        """By what each session is in."""
        return {session_id: seat.grant for session_id, seat in tuple(self._seats.items())}

    def counts(self) -> list[tuple[str, Counts]]:
        """Bytes so far of each session over which some have moved since it was last `told`."""
        found = []
        for session_id, seat in tuple(self._seats.items()):
            if seat.link is not None:
                counts = seat.link.counts()
                if counts.sent + counts.received != seat.told:
                    found.append((session_id, counts))
        return found

    def told(self, counts: Iterable[tuple[str, Counts]]) -> None:
        """These are for readers that look when they want to know. Most sessions are idle at any time, and
        to write all of them down again and again would take the time of those who come in."""
        for session_id, now in counts:
            seat = self._seats.get(session_id)
            if seat is not None:
                seat.told = now.sent + now.received
