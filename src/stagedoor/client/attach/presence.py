"""The other people at a terminal, in one line for a title. Pure."""

from stagedoor.laptop.tunnel.errors import clean
from stagedoor.wire.terminal.frames import IdentityLevel, Mode, People, Person

_TYPED = ", typed last"
_MOST = 5
"""The most names in the line; further people are counted."""


class PresenceReport:
    """A reporter of the people at a terminal that remembers its last line."""

    def __init__(self) -> None:
        self._line = ""

    def news(self, people: People) -> tuple[str, bool] | None:
        """Return the line for the title and whether a person has come or gone; None if nothing is new.

        The line is empty if no other person is there.
        """
        line = _line(people)
        if line == self._line:
            return None
        others = line.replace(_TYPED, "") != self._line.replace(_TYPED, "")
        self._line = line
        return clean(line), others


def _line(people: People) -> str:
    others = [person for person in people.people if person.number != people.you]
    named = [_description(person) for person in others[:_MOST]]
    if len(others) > _MOST:
        named.append(f"and {len(others) - _MOST} more")
    company = "also here: " + ", ".join(named) if others else ""
    return "; ".join(part for part in ("locked" if people.locked else "", company) if part)


def _description(person: Person) -> str:
    name = person.name or "somebody"
    if person.known is IdentityLevel.CLAIMED and person.name:
        name = f"{person.name}?"
    if person.known is IdentityLevel.SSH:
        name = f"somebody by ssh as {person.name}" if person.name else "somebody by ssh"
    action = "watches" if person.mode is Mode.WATCH else "types"
    return f"{name} ({action}{_TYPED if person.typed else ''})"
