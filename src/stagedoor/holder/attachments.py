"""Who is at a terminal now, who typed last, and for whom it is kept. Pure.

Everybody who is connected is here, however they came: by the gateway, or by the holder's command in a
login by ssh. Names are those that a HELLO claims; the gateway knows which of them it has let in.
"""

from dataclasses import dataclass

from stagedoor.wire.terminal import Feature, Hello, Mode, Notice, NoticeKind, People, Person

TELL_S = 0.5
"""People are told once in so long at most, whatever happens: two who type in turn change it with each key."""
LOCK_GRACE_S = 60.0
"""So long a lock holds while its owner's line is cut."""
USER = "user:"
GUEST = "guest:"
WATCH = "watch:"
"""What the gateway puts before a name: of those who come by a grant of their own, by a share, and because
an administrator lets them watch."""


@dataclass(eq=False, slots=True)
class _Here:
    owner: str
    mode: Mode
    since: float
    told: bool = False

    @property
    def rules(self) -> bool:
        return self.mode is not Mode.WATCH and self.owner.startswith(USER)


class AttachmentTable:
    """Of one terminal, by the numbers of its links. `now` is seconds of a clock that only goes forward."""

    def __init__(self) -> None:
        self._here: dict[int, _Here] = {}
        self._typed: int | None = None
        self._lock: str | None = None
        self._lock_until: float | None = None
        self._changed = False
        self._told_at = float("-inf")

    def came(self, link: int, hello: Hello, now: float) -> None:
        """Somebody has been let in."""
        mode = Mode.WATCH if hello.mode is Mode.WATCH else Mode.MIRROR
        self._here[link] = _Here(
            hello.ticket, mode, now, told=bool(hello.features & Feature.PEOPLE)
        )
        if hello.ticket == self._lock:
            self._lock_until = None
        self._changed = True

    def left(self, link: int, now: float) -> None:
        """A link is gone; nothing happens if nobody was let in by it."""
        gone = self._here.pop(link, None)
        if gone is None:
            return
        self._changed = True
        if gone.owner == self._lock and not self._owns_lock():
            self._lock_until = now + LOCK_GRACE_S

    def typed(self, link: int) -> None:
        """Somebody has typed."""
        here = self._here.get(link)
        if here is not None and here.mode is not Mode.WATCH and link != self._typed:
            self._typed, self._changed = link, True

    def may_rule(self, link: int) -> bool:
        """Whether this one may send others away: who comes by a grant of their own, and types."""
        return link in self._here and self._here[link].rules

    def remove(self, by: int, number: int) -> dict[int, Notice]:
        """The links to close, with what they are told last. `by` may rule."""
        if number not in self._here:  # gone meanwhile
            return {}
        return {
            number: _away(f"{owner_name(self._here[by].owner)} has removed you from this terminal")
        }

    def lock(self, by: int, on: bool) -> dict[int, Notice]:
        """The same for a terminal that is kept for one person, or no longer. `by` may rule."""
        owner = self._here[by].owner
        self._lock, self._lock_until = (owner if on else None), None
        self._changed = True
        why = _away(_kept(owner))
        return {link: why for link, each in self._here.items() if on and self._is_out(each)}

    @property
    def locked(self) -> bool:
        """Whether the terminal is kept for one person."""
        return self._lock is not None

    def refusal(self, hello: Hello, now: float) -> str | None:
        """Return why the lock keeps a client out now, or None if it may attach."""
        self._expire_lock(now)
        if self._lock is None or not self._is_out(_Here(hello.ticket, hello.mode, now)):
            return None
        return _kept(self._lock)

    def due_at(self) -> float | None:
        """Return when `due` should be called next, or None if only an event changes anything."""
        moments = [] if self._lock_until is None else [self._lock_until]
        if self._has_news():
            moments.append(self._told_at + TELL_S)
        return min(moments, default=None)

    def due(self, now: float) -> dict[int, People]:
        """Return the PEOPLE to send now, by link. Also ends a lock whose owner stayed away."""
        self._expire_lock(now)
        if not self._has_news() or now < self._told_at + TELL_S:
            return {}
        self._changed, self._told_at = False, now
        people = tuple(
            Person(
                link, each.owner, each.mode, typed=link == self._typed, for_s=int(now - each.since)
            )
            for link, each in self._here.items()
        )
        return {
            link: People(link, each.rules, self.locked, people)
            for link, each in self._here.items()
            if each.told
        }

    def _has_news(self) -> bool:
        return self._changed and any(each.told for each in self._here.values())

    def _expire_lock(self, now: float) -> None:
        if self._lock_until is not None and now >= self._lock_until:
            self._lock = self._lock_until = None
            self._changed = True

    def _owns_lock(self) -> bool:
        return any(each.owner == self._lock for each in self._here.values())

    def _is_out(self, each: _Here) -> bool:
        """Whether the lock keeps them out. Those whom an administrator lets watch are not the owner's."""
        if each.mode is Mode.WATCH and each.owner.startswith(WATCH):
            return False
        return each.owner != self._lock


def owner_name(owner: str) -> str:
    """What a person is called whom `owner` stands for: `user:alice` is alice."""
    return owner.partition(":")[2] or "somebody"


def _kept(owner: str) -> str:
    return (
        f"{owner_name(owner)} keeps this terminal to themselves now; ask them to unlock it, or open another "
        "terminal by a name"
    )


def _away(why: str) -> Notice:
    return Notice(NoticeKind.REVOKED, why)
