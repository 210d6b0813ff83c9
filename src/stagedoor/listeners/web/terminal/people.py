"""The people at a terminal. The holder reports who is connected, and the gateways know the admitted sessions.

A user who may log in to the shell by ssh can run the holder's command there and claim any name. So a name is
believed only as often as the gateways have admitted a user of that name.
"""

from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace

from stagedoor.holder.people import GUEST, USER, WATCH
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant, Guest
from stagedoor.model.presence import PresenceEntry
from stagedoor.wire.terminal.frames import (
    Hello,
    IdentityLevel,
    Mode,
    People,
    Person,
)

DOUBT_S = 3.0
"""How long a name stays `CLAIMED` before it counts as `SSH`, in seconds.

Another gateway may have admitted the user just now, and the store is queried once a second.
"""


def list_admitted_numbers(
    report: People, present: Sequence[PresenceEntry], before: Set[int]
) -> set[int]:
    """Return the numbers of those people in the holder's `report` that the gateways have admitted.

    `present` are the sessions at this terminal. A person in `before` keeps that state. If more people
    claim a name than were admitted with it, none of them is believed.
    """
    admitted = Counter((entry.name, entry.is_watching) for entry in present)
    people = report.people
    known = {
        person.number for person in people if person.number in before or person.number == report.you
    }
    admitted.subtract(_make_key(person) for person in people if person.number in known)
    claims = Counter(_make_key(person) for person in people if person.number not in known)
    return known | {
        person.number
        for person in people
        if claims[_make_key(person)] <= admitted[_make_key(person)]
    }


def with_levels(report: People, known: Set[int], by_ssh: Set[int]) -> People:
    """Return the holder's `report` with the level at which each identity is known.

    `known` and `by_ssh` are numbers of people; all others are `CLAIMED`.
    """
    people = []
    for person in report.people:
        prefix, _, name = person.name.partition(":")
        level = IdentityLevel.SSH if person.number in by_ssh else IdentityLevel.CLAIMED
        if person.number in known:
            level = IdentityLevel.GUEST if f"{prefix}:" == GUEST else IdentityLevel.USER
        people.append(replace(person, name=name, level=level))
    return replace(report, people=tuple(people))


def _make_key(person: Person) -> tuple[str, bool]:
    return person.name.partition(":")[2], person.mode is Mode.WATCH


@dataclass(slots=True)
class PresenceNotices:
    """Notices to one client about the people at its terminal, one for each change.

    `now` returns seconds since the epoch.
    """

    now: Callable[[], float]
    _from_holder: People | None = None
    _present: Sequence[PresenceEntry] | None = None
    _admitted: set[int] = field(default_factory=set)
    _doubted: dict[int, float] = field(default_factory=dict)
    _sent: People | None = None

    def set_people(self, people: People) -> People | None:
        """Take the holder's report of who is connected. Return the notice to send, or None."""
        self._from_holder = people
        return self._update()

    def set_present(self, present: Sequence[PresenceEntry]) -> People | None:
        """Take the sessions admitted to this terminal by the gateways. Return the notice to send, or None."""
        if present is self._present and not self._doubted:
            return None  # only doubts change with time
        self._present = present
        return self._update()

    def _update(self) -> People | None:
        if self._present is None or self._from_holder is None:
            return None
        people = self._judge(self._from_holder, self._present)
        if self._sent is not None and _without_times(people) == _without_times(self._sent):
            return None
        self._sent = people
        return people

    def _judge(self, report: People, present: Sequence[PresenceEntry]) -> People:
        now = self.now()
        self._admitted = list_admitted_numbers(report, present, self._admitted)
        doubted = {person.number for person in report.people} - self._admitted
        self._doubted = {number: self._doubted.get(number, now) for number in doubted}
        by_ssh = {number for number, at in self._doubted.items() if now - at >= DOUBT_S}
        return with_levels(report, self._admitted, by_ssh)


def _without_times(people: People) -> People:
    return replace(people, people=tuple(replace(person, for_s=0) for person in people.people))


def check_guest_terminal(hello: Hello, guest: Guest) -> Denial | None:
    """Refuse a guest's first frame that names another terminal than the guest's. It may name none."""
    if hello.terminal in ("", guest.terminal):
        return None
    return Denial(Reason.NO_GRANT, "you are admitted to another terminal than this one")


def restrict_hello(hello: Hello, guest: Guest) -> Hello:
    """Return a guest's first frame limited to the guest's terminal, without a command to start.

    A guest without the right to type only watches. One with it cannot take the terminal over from its host.
    """
    mode = hello.mode if hello.mode is not Mode.TAKE_OVER else Mode.MIRROR
    if not guest.may_type:
        mode = Mode.WATCH
    return replace(hello, terminal=guest.terminal, mode=mode, command="")


def make_holder_hello(hello: Hello, grant: Grant) -> Hello:
    """Return the first frame for the holder, with the attachment's owner in place of the ticket.

    The holder resumes an attachment only for the same owner. So no other user gets it, and a user who comes
    as a guest does not get the attachment of their own grant.
    """
    guest = grant.guest
    owner = GUEST
    if guest is None:
        owner = USER
    elif guest.share is None:
        owner = WATCH
    return replace(hello, ticket=owner + grant.identity.name)
