"""Who is at a terminal, by what two know: its holder knows who is connected, the gateway whom it let in.

Whoever may log in to the shell by ssh can run the holder's command there, and claim any name. So a name
counts only as often as the gateways have let somebody of that name in.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from stagedoor.holder.roster import USER
from stagedoor.model.presence import Present
from stagedoor.wire.terminal import Known, Mode, Notice, People, Person, Upstream, Word

_FRESH_LOOKS = 2
"""Looks into the store until one of them began after the holder's word. Who comes is written down before
the holder hears of them."""


def named(told: People, present: Sequence[Present]) -> People:
    """What the holder has told, with what the gateways know of each; `present` are those at this terminal."""
    let_in = Counter((each.name, each.looks) for each in present)
    here = Counter(_key(each) for each in told.people)
    people = []
    for each in told.people:
        prefix, _, name = each.name.partition(":")
        known = Known.USER if f"{prefix}:" == USER else Known.GUEST
        # Of more than were let in, one has come by ssh, and nobody can say which. The reader is known.
        if here[_key(each)] > let_in[_key(each)] and each.number != told.you:
            known = Known.SSH
        people.append(replace(each, name=name, known=known))
    return replace(told, people=tuple(people))


def by_gateways(present: Sequence[Present], now: float) -> People:
    """The others, where a holder of an earlier version tells nothing: those whom the gateways let in."""
    people = tuple(
        Person(
            0,
            each.name,
            Mode.WATCH if each.looks else Mode.MIRROR,
            Known.GUEST if each.share else Known.USER,
            for_s=max(int(now - each.since), 0),
        )
        for each in present
    )
    return People(0, rules=False, locked=False, people=people)


def _key(person: Person) -> tuple[str, bool]:
    return person.name.partition(":")[2], person.mode is Mode.WATCH


@dataclass(slots=True)
class PeopleTeller:
    """Tells one client who is at its terminal, whenever that changes. `now`: seconds since the epoch."""

    tell: Callable[[Upstream], None]
    now: Callable[[], float]
    _reads_people: bool = False
    _from_holder: People | None = None
    _present: Sequence[Present] | None = None
    _session: str = ""
    _looks_due: int = 0
    _told: People | None = None
    _watchers: str = ""

    def reads_people(self) -> None:
        """The client says so; one of an earlier version is told by a NOTICE who watches."""
        self._reads_people = True
        self._update()

    def heard(self, people: People) -> None:
        """The holder has told who is connected."""
        self._from_holder, self._looks_due = people, _FRESH_LOOKS
        self._update()

    def present(self, present: Sequence[Present], session: str) -> None:
        """Those whom the gateways have let in to this terminal, among them the client's own session."""
        self._present, self._session = present, session
        self._looks_due = max(self._looks_due - 1, 0)
        self._update()

    def _update(self) -> None:
        if self._present is None:
            return
        if not self._reads_people:
            self._tell_of_watchers(self._present)
            return
        if self._from_holder is None:
            others = [each for each in self._present if each.session != self._session]
            people = by_gateways(others, self.now())
        else:
            people = named(self._from_holder, self._present)
            if self._looks_due and any(each.known is Known.SSH for each in people.people):
                return  # another gateway may have let them in just now
        if self._told is None or _lasting(people) != _lasting(self._told):
            self._told = people
            self.tell(people)

    def _tell_of_watchers(self, present: Sequence[Present]) -> None:
        names = {each.name for each in present if each.looks and each.session != self._session}
        watchers = ", ".join(sorted(names))
        if watchers != self._watchers:
            self._watchers = watchers
            self.tell(Notice(Word.WATCHED, watchers))


def _lasting(people: People) -> People:
    return replace(people, people=tuple(replace(each, for_s=0) for each in people.people))
