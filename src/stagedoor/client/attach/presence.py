"""Who else is at a terminal, in one line for a title. Pure."""

from stagedoor.client.tunnel import clean
from stagedoor.wire.terminal import IdentityLevel, Mode, People, Person

_TYPED = ", typed last"
_MOST = 5
"""Names in one line; the others are counted."""


class PresenceReport:
    """Remembers what was said last."""

    def __init__(self) -> None:
        self._line = ""

    def news(self, people: People) -> tuple[str, bool] | None:
        """The line for the title, empty if nobody else is there, and whether somebody has come or gone.
        None if it says nothing new."""
        line = _line(people)
        if line == self._line:
            return None
        others = line.replace(_TYPED, "") != self._line.replace(_TYPED, "")
        self._line = line
        return clean(line), others


def _line(people: People) -> str:
    others = [each for each in people.people if each.number != people.you]
    named = [_word(each) for each in others[:_MOST]]
    if len(others) > _MOST:
        named.append(f"and {len(others) - _MOST} more")
    company = "also here: " + ", ".join(named) if others else ""
    return "; ".join(part for part in ("locked" if people.locked else "", company) if part)


def _word(each: Person) -> str:
    name = each.name or "somebody"
    if each.known is IdentityLevel.CLAIMED and each.name:
        name = f"{each.name}?"
    if each.known is IdentityLevel.SSH:
        name = f"somebody by ssh as {each.name}" if each.name else "somebody by ssh"
    does = "watches" if each.mode is Mode.WATCH else "types"
    return f"{name} ({does}{_TYPED if each.typed else ''})"
