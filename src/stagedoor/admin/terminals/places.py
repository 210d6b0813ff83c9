"""How many may be at one terminal: decided by who is there already. Pure.

Each visit costs some processes and memory in the shell, and the holder there has a limit of its own
(`holder.limits`), of which those who type keep a part. These limits are lower, so that nobody who may
only watch reaches that one, and one link or one person leaves places for others who watch.
"""

from collections.abc import Sequence

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.presence import PresenceEntry

WATCHING = 32
"""Visits of all who only watch a terminal."""
BY_ONE_SHARE = 24
WATCHING_ONE_PERSON = 8
TYPING_ONE_PERSON = 16
"""Above the few windows that a person has: visits whose line was cut count until that is known."""


def crowded(present: Sequence[PresenceEntry], session: str) -> Denial | None:
    """Why the visit of `session` has to go again; `present` are all at its terminal, itself too."""
    one = next((each for each in present if each.session == session), None)
    if one is None:
        return None
    alike = [each for each in present if each.looks == one.looks]
    of_person = sum(each.name == one.name for each in alike)
    of_share = sum(each.share == one.share for each in present) if one.share else 0
    if of_person > (WATCHING_ONE_PERSON if one.looks else TYPING_ONE_PERSON):
        does = "watches" if one.looks else "is at"
        return _full(f"{one.name} {does} this terminal {of_person - 1} times already")
    if of_share > BY_ONE_SHARE:
        return _full(f"this link is used by {BY_ONE_SHARE} at a time, which is the limit")
    if one.looks and len(alike) > WATCHING:
        return _full(f"this terminal is watched {WATCHING} times already, which is the limit")
    return None


def _full(why: str) -> Denial:
    return Denial(
        Reason.OVERLOADED,
        f"{why}; close a window of it, or try again when somebody has left",
        retry_after_s=5,
    )
