"""The people at a terminal, who typed last, and the lock. Pure.

All connected clients are in this list, whether they came through the gateway or by the holder's command in a
login by ssh. Their names are those in their HELLO; the gateway knows which of them it has admitted.
"""

from dataclasses import dataclass

from stagedoor.wire.terminal.frames import Feature, Hello, Mode, Notice, NoticeKind, People, Person

NOTIFY_S = 0.5
"""The least time between two PEOPLE, in seconds, since two people who type in turn change the list with each
key."""
LOCK_GRACE_S = 60.0
"""The seconds for which a lock holds while its owner is disconnected."""
USER = "user:"
GUEST = "guest:"
WATCH = "watch:"
"""The gateway's prefixes of names: for a user with a grant, a guest by a share, and a user who may watch
by an administrator's grant."""


@dataclass(eq=False, slots=True)
class _Participant:
    owner: str
    mode: Mode
    since: float
    gets_people: bool = False

    @property
    def may_rule(self) -> bool:
        return self.mode is not Mode.WATCH and self.owner.startswith(USER)


class TerminalPeople:
    """The people at one terminal, by their links' numbers. `now` is seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._clients: dict[int, _Participant] = {}
        self._last_typist: int | None = None
        self._lock: str | None = None
        self._lock_until: float | None = None
        self._changed = False
        self._notified_at = float("-inf")

    def add_client(self, link: int, hello: Hello, now: float) -> None:
        """Add a client that has been admitted."""
        mode = Mode.WATCH if hello.mode is Mode.WATCH else Mode.MIRROR
        self._clients[link] = _Participant(
            hello.owner, mode, now, gets_people=bool(hello.features & Feature.PEOPLE)
        )
        if hello.owner == self._lock:
            self._lock_until = None
        self._changed = True

    def remove_client(self, link: int, now: float) -> None:
        """Remove the client of a closed link. Do nothing if the link had no admitted client."""
        gone = self._clients.pop(link, None)
        if gone is None:
            return
        self._changed = True
        if gone.owner == self._lock and not self._owns_lock():
            self._lock_until = now + LOCK_GRACE_S

    def note_input(self, link: int) -> None:
        """Note that a client has typed."""
        client = self._clients.get(link)
        if client is not None and client.mode is not Mode.WATCH and link != self._last_typist:
            self._last_typist, self._changed = link, True

    def may_rule(self, link: int) -> bool:
        """Return whether a client may send others away: only one that types and has a grant of its own."""
        return link in self._clients and self._clients[link].may_rule

    def remove(self, by: int, number: int) -> dict[int, Notice]:
        """Return the link to close, with its last notice. `by` may rule."""
        if number not in self._clients:  # the client has left
            return {}
        return {
            number: _make_notice(
                f"{read_owner_name(self._clients[by].owner)} has removed you from this terminal"
            )
        }

    def lock(self, by: int, on: bool) -> dict[int, Notice]:
        """Lock the terminal for the owner of `by`, who may rule, or unlock it.

        Return the links to close, with their last notice.
        """
        owner = self._clients[by].owner
        self._lock, self._lock_until = (owner if on else None), None
        self._changed = True
        why = _make_notice(_describe_lock(owner))
        return {link: why for link, client in self._clients.items() if on and self._is_out(client)}

    @property
    def is_locked(self) -> bool:
        """Return whether the terminal is locked for one person."""
        return self._lock is not None

    def refusal(self, hello: Hello, now: float) -> str | None:
        """Return why the lock keeps a client out, or None if it may attach."""
        self._expire_lock(now)
        if self._lock is None or not self._is_out(_Participant(hello.owner, hello.mode, now)):
            return None
        return _describe_lock(self._lock)

    def find_due_at(self) -> float | None:
        """Return when `take_due` should be called next, or None if only an event changes anything."""
        moments = [] if self._lock_until is None else [self._lock_until]
        if self._has_news():
            moments.append(self._notified_at + NOTIFY_S)
        return min(moments, default=None)

    def take_due(self, now: float) -> dict[int, People]:
        """Return the PEOPLE to send now, by link. This also ends a lock whose owner has stayed away."""
        self._expire_lock(now)
        if not self._has_news() or now < self._notified_at + NOTIFY_S:
            return {}
        self._changed, self._notified_at = False, now
        people = tuple(
            Person(
                link,
                client.owner,
                client.mode,
                typed=link == self._last_typist,
                for_s=int(now - client.since),
            )
            for link, client in self._clients.items()
        )
        return {
            link: People(link, client.may_rule, self.is_locked, people)
            for link, client in self._clients.items()
            if client.gets_people
        }

    def _has_news(self) -> bool:
        return self._changed and any(client.gets_people for client in self._clients.values())

    def _expire_lock(self, now: float) -> None:
        if self._lock_until is not None and now >= self._lock_until:
            self._lock = self._lock_until = None
            self._changed = True

    def _owns_lock(self) -> bool:
        return any(client.owner == self._lock for client in self._clients.values())

    def _is_out(self, client: _Participant) -> bool:
        """Return whether the lock keeps a client out. Users with a grant to watch may stay."""
        if client.mode is Mode.WATCH and client.owner.startswith(WATCH):
            return False
        return client.owner != self._lock


def read_owner_name(owner: str) -> str:
    """Return the name of an owner without its prefix: `user:alice` is alice."""
    return owner.partition(":")[2] or "another user"


def _describe_lock(owner: str) -> str:
    return (
        f"{read_owner_name(owner)} has locked this terminal; ask them to unlock it, or open "
        "another terminal by a name"
    )


def _make_notice(why: str) -> Notice:
    return Notice(NoticeKind.REVOKED, why)
