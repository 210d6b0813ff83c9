"""The registry of this process's live sessions, which ends those that the policy no longer allows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock

from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.permission import Permission
from stagedoor.model.session import Counts, EndReason, OpenedSession
from stagedoor.session.ports import RelayHandle
from stagedoor.session.revoke import Removal, find_removal, require_permission, require_recording

Judge = Callable[[Grant], Grant | Denial]
"""Returns the grant for the same identity and target by the policy as it is now."""


@dataclass(slots=True)
class _Entry:
    opened: OpenedSession
    grant: Grant
    """The grant that covers the session now: at first the one that opened it."""
    needs: Permission | None
    """The session ends when this is no longer permitted."""
    handle: RelayHandle | None = None
    removal: Removal | None = None
    sent: int = 0
    """The bytes of this direction that `take_new_bytes` has returned."""
    received: int = 0
    earlier: "_Entry | None" = None
    """The connection that carried the session before, until that has let go of it."""


class Registry:
    """The live sessions by id. Every method may be called from any thread.

    A session registers before its relay starts. If it must end in between, its handle is closed as soon as
    there is one. `attach` judges the session again, so that no change of the policy is missed: either the
    review of the change finds the session, or `attach` sees the new policy.

    A session may have two connections while it moves from one to the other, after a failed resume, or if an
    endpoint names the wrong session (one in a shell may be hostile). Each is judged until it has ended.
    """

    def __init__(self, judge: Judge, now: Callable[[], float]) -> None:
        """`now` returns seconds since the epoch."""
        self._judge = judge
        self._now = now
        self._entries: dict[str, _Entry] = {}
        self._expiring: set[str] = set()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def list_ids(self) -> tuple[str, ...]:
        """Return the ids of the live sessions."""
        return tuple(self._entries)

    def register(self, opened: OpenedSession, needs: Permission | None = None) -> None:
        """Add a session, which ends when `needs` is no longer permitted.

        If another connection has it already, that one is judged too, until it is unregistered.
        """
        with self._lock:
            entry = _Entry(opened, opened.ready.grant, needs)
            entry.earlier = self._entries.get(opened.id)
            if entry.earlier is None:
                entry.sent, entry.received = opened.before.sent, opened.before.received
            else:
                entry.sent, entry.received = entry.earlier.sent, entry.earlier.received
            self._entries[opened.id] = entry
            self._track_expiry(opened.id)

    def attach(self, opened: OpenedSession, handle: RelayHandle) -> None:
        """Add the handle of a session whose relay now runs. If the session must end, close the handle."""
        with self._lock:
            entry = next((e for e in self._list_entries(opened.id) if e.opened is opened), None)
            if entry is None:
                return
            reviewed = self._judge_again(opened.id, entry)
            entry.handle = handle
            removal = entry.removal or reviewed
            if _differs(entry.grant, opened.ready.grant):
                handle.change_grant(entry.grant)
        if removal is not None:
            handle.request_end(*removal)

    def unregister(self, opened: OpenedSession) -> None:
        """Remove the connection of a session that has ended or continues over another connection."""
        with self._lock:
            left = [entry for entry in self._list_entries(opened.id) if entry.opened is not opened]
            for entry, earlier in zip(left, [*left[1:], None], strict=False):
                entry.earlier = earlier
            if left:
                self._entries[opened.id] = left[0]
            else:
                self._entries.pop(opened.id, None)
            self._track_expiry(opened.id)

    def request_end(self, session_id: str, end: EndReason, detail: str) -> bool:
        """Ask one session to end. Return False if it is not in this process."""
        with self._lock:
            entries = self._list_entries(session_id)
        for entry in entries:
            self._close(entry, Removal(end, detail))
        return bool(entries)

    def _close(self, entry: _Entry, removal: Removal) -> None:
        with self._lock:
            entry.removal = removal
            handle = entry.handle
        if handle is not None:
            handle.request_end(*removal)

    def _list_entries(self, session_id: str) -> list[_Entry]:
        """Return the connections of a session, the newest first. Call this under the lock."""
        entries, entry = [], self._entries.get(session_id)
        while entry is not None:
            entries.append(entry)
            entry = entry.earlier
        return entries

    def end_all(self, end: EndReason, detail: str) -> int:
        """Ask all sessions to end, and return how many there were."""
        session_ids = tuple(self._entries)
        return sum(self.request_end(session_id, end, detail) for session_id in session_ids)

    def review(self) -> int:
        """Ask the sessions that a changed policy no longer allows to end, and return how many."""
        return self._review(tuple(self._entries))

    def expire(self) -> int:
        """Ask the sessions whose grant has expired to end, and return how many.

        This also applies changes of permissions that are due. Call it from time to time.
        """
        return self._review(tuple(self._expiring))

    def _review(self, session_ids: tuple[str, ...]) -> int:
        closed = 0
        for session_id in session_ids:
            # Under the lock, so that a thread with an older policy cannot overwrite a newer verdict.
            with self._lock:
                entries = self._list_entries(session_id)
                removals = [self._judge_again(session_id, entry) for entry in entries]
            for entry, removal in zip(entries, removals, strict=True):
                if removal is not None:
                    self._close(entry, removal)
                    closed += 1
        return closed

    def _judge_again(self, session_id: str, entry: _Entry) -> Removal | None:
        """Judge a session by the current policy. Return its removal, or None if it may stay.

        If it may stay, keep the new grant, and pass it to the handle if it differs. Call this under the lock.
        """
        before = entry.grant
        decision = require_permission(entry.needs, self._judge(before))
        decision = require_recording(entry.opened.access_method, decision)
        if decision is before:
            return None
        if isinstance(decision, Grant):
            entry.grant = decision
            self._track_expiry(session_id)
            if entry.handle is not None and _differs(decision, before):
                entry.handle.change_grant(decision)
        return find_removal(before, decision, self._now())

    def _track_expiry(self, session_id: str) -> None:
        grants = [entry.grant for entry in self._list_entries(session_id)]
        if any(grant.expires_at is not None or grant.changes_at is not None for grant in grants):
            self._expiring.add(session_id)
        else:
            self._expiring.discard(session_id)

    def list_grants(self) -> dict[str, Grant]:
        """Return the grant that covers each session now."""
        return {session_id: entry.grant for session_id, entry in tuple(self._entries.items())}

    def read_counts(self) -> Iterator[tuple[str, Counts]]:
        """Yield the counts of each session with bytes that `take_new_bytes` has not returned yet."""
        for session_id, entry in tuple(self._entries.items()):
            if entry.handle is not None:
                now = entry.handle.read_counts()
                if (now.sent, now.received) != (entry.sent, entry.received):
                    yield session_id, now

    def take_new_bytes(self, session_id: str, now: Counts) -> Counts:
        """Return the bytes that a live session has moved, up to `now`, since the last call."""
        with self._lock:
            entry = self._entries.get(session_id)
            if entry is None:
                return Counts()
            new = Counts(max(0, now.sent - entry.sent), max(0, now.received - entry.received))
            entry.sent += new.sent
            entry.received += new.received
        return new


def _differs(grant: Grant, before: Grant) -> bool:
    """Return whether a new grant changes anything for a session."""
    return (grant.permissions, grant.expires_at, grant.resume_s) != (
        before.permissions,
        before.expires_at,
        before.resume_s,
    )
