"""Who is at a terminal, by what two know: its holder knows who is connected, the gateway whom it let in.

A user who may log in to the shell by ssh can run the holder's command there, and claim any name. So a name
counts only as often as the gateways have let somebody of that name in.
"""

from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace

from stagedoor.holder.attachments import USER
from stagedoor.model.presence import PresenceEntry
from stagedoor.wire.terminal import IdentityLevel, Mode, People, Person, Upstream

DOUBT_S = 3.0
"""So long a name is only claimed: another gateway may have let them in just now, which the store is asked
for once a second."""


def proved(told: People, present: Sequence[PresenceEntry], before: Set[int]) -> set[int]:
    """The numbers of those whom the gateways have let in; `present` are those at this terminal. Who was
    proved `before` stays it. Of more who claim a name than were let in, nobody can say who it is."""
    let_in = Counter((each.name, each.is_watching) for each in present)
    known = {
        each.number for each in told.people if each.number in before or each.number == told.you
    }
    let_in.subtract(_key(each) for each in told.people if each.number in known)
    claims = Counter(_key(each) for each in told.people if each.number not in known)
    return known | {each.number for each in told.people if claims[_key(each)] <= let_in[_key(each)]}


def named(told: People, known: Set[int], by_ssh: Set[int]) -> People:
    """What the holder has told, with what is known of each; the rest is claimed."""
    people = []
    for each in told.people:
        prefix, _, name = each.name.partition(":")
        how = IdentityLevel.SSH if each.number in by_ssh else IdentityLevel.CLAIMED
        if each.number in known:
            how = IdentityLevel.USER if f"{prefix}:" == USER else IdentityLevel.GUEST
        people.append(replace(each, name=name, known=how))
    return replace(told, people=tuple(people))


def _key(person: Person) -> tuple[str, bool]:
    return person.name.partition(":")[2], person.mode is Mode.WATCH


@dataclass(slots=True)
class PresenceNotifier:
    """Tells one client who is at its terminal, whenever that changes. `now`: seconds since the epoch."""

    tell: Callable[[Upstream], None]
    now: Callable[[], float]
    _from_holder: People | None = None
    _present: Sequence[PresenceEntry] | None = None
    _session: str = ""
    _proved: set[int] = field(default_factory=set)
    _doubted: dict[int, float] = field(default_factory=dict)
    _told: People | None = None

    def heard(self, people: People) -> None:
        """The holder has told who is connected."""
        self._from_holder = people
        self._update()

    def present(self, present: Sequence[PresenceEntry], session: str) -> None:
        """Those whom the gateways have let in to this terminal, among them the client's own session."""
        if present is self._present and not self._doubted:
            return  # only a doubt changes with time
        self._present, self._session = present, session
        self._update()

    def _update(self) -> None:
        if self._present is None or self._from_holder is None:
            return
        people = self._named(self._from_holder, self._present)
        if self._told is None or _lasting(people) != _lasting(self._told):
            self._told = people
            self.tell(people)

    def _named(self, told: People, present: Sequence[PresenceEntry]) -> People:
        now = self.now()
        self._proved = proved(told, present, self._proved)
        doubted = {each.number for each in told.people} - self._proved
        self._doubted = {number: self._doubted.get(number, now) for number in doubted}
        by_ssh = {number for number, at in self._doubted.items() if now - at >= DOUBT_S}
        return named(told, self._proved, by_ssh)


def _lasting(people: People) -> People:
    return replace(people, people=tuple(replace(each, for_s=0) for each in people.people))
