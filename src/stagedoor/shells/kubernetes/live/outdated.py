"""A shell that runs while its app has moved on: what is marked on its Deployment, and what is said. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.names import (
    ASKED_IMAGE,
    MOVED_ON,
    STALE,
    STALE_SINCE,
    TEMPLATE,
)
from stagedoor.shells.kubernetes.sentences import plain
from stagedoor.wire.rfc3339 import parse_time, show_time

MAX_NAMES = 3
"""Of those who are inside, in a sentence."""
MAX_IMAGE_CHARS = 200
"""Of an image in a sentence: an Event has 1024 (core/v1)."""


@dataclass(frozen=True, slots=True)
class Outdated:
    """`asked` is the image as the app named it when the shell was made, `wanted` as it does now; empty
    where that is not known. `since` is when it was seen, seconds since the epoch. `bent`: the app is
    the same, and somebody changed the shell's own Deployment."""

    asked: str
    wanted: str
    since: float | None
    bent: bool


def outdated(shell: Object | None) -> Outdated | None:
    """What the shell's Deployment is marked with; None if its shell is current, or does not run."""
    if shell is None or not (shell.get("spec") or {}).get("replicas", 1):
        return None
    said = shell["metadata"].get("annotations") or {}
    stale = said.get(STALE)
    if not stale:
        return None
    since = parse_time(str(said.get(STALE_SINCE, "")))
    asked, wanted = str(said.get(ASKED_IMAGE, "")), str(said.get(MOVED_ON, ""))
    return Outdated(asked, wanted, since, bent=stale == said.get(TEMPLATE))


def outdated_marks(
    shell: Object, stale: str | None, wanted: str, now: float
) -> dict[str, str | None]:
    """The annotations to write besides `stale` (as in `lifecycle.Mark`). A shell that becomes outdated is
    so since `now`, and again when its app names another image (`wanted`); another change is no news."""
    if stale is None:
        return {MOVED_ON: None, STALE_SINCE: None}
    before = outdated(shell)
    if before is not None and before.wanted == wanted:
        return {}
    return {MOVED_ON: wanted, STALE_SINCE: show_time(now)}


def sentence(app: str, found: Outdated, inside: Sequence[str] = ()) -> str:
    """One line for people. `inside` are the names of those who are, as far as they are known."""
    at = "" if found.since is None else f" at {_minute(found.since)}"
    if found.bent:
        what = f"somebody changed the Deployment of {app}'s shell{at}; it"
    elif found.wanted and found.asked and found.wanted != found.asked:
        what = f"{app} moved on to {_image(found.wanted)}{at}; this shell is of {_image(found.asked)} and"
    else:
        what = f"{app} has changed{at}; this shell is as it was before and"
    return f"{what} is replaced when {_left(inside)}"


def notice(app: str, found: Outdated) -> str:
    """Return the sentence for those inside and those who log in, with the way to the new version."""
    return f"{sentence(app, found)}; log out, and in again a minute later, for the new one"


def _left(inside: Sequence[str]) -> str:
    names = sorted(set(inside))
    if not names:
        return "nobody is inside"
    if len(names) == 1:
        return f"{names[0]} has left"
    rest = len(names) - MAX_NAMES
    # One more name is as short as "1 other".
    named, last = (names[:-1], names[-1]) if rest <= 1 else (names[:MAX_NAMES], f"{rest} others")
    return f"{', '.join(named)} and {last} have left"


def _image(name: str) -> str:
    return plain(name, MAX_IMAGE_CHARS)


def _minute(at: float) -> str:
    return f"{show_time(at)[:16].replace('T', ' ')} UTC"
