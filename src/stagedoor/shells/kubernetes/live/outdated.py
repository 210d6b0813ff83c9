"""Running shells that are outdated by a change of their app: the annotations and the sentences. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.names import (
    IMAGE_NAME,
    NEW_IMAGE_NAME,
    STALE,
    STALE_SINCE,
    TEMPLATE,
)
from stagedoor.shells.kubernetes.sentences import clean_text
from stagedoor.wire.rfc3339 import parse_time, show_time

MAX_NAMES = 3
"""The most users that a sentence names."""
MAX_IMAGE_CHARS = 200
"""The longest image in a sentence, in characters: an Event may have 1024 (core/v1)."""


@dataclass(frozen=True, slots=True)
class Outdated:
    """The state of an outdated shell.

    `old_image` is the image that the app named when the shell was created, and `new_image` the one that it
    names now; empty if unknown. `since` is when the change was seen, in seconds since the epoch. `modified`
    is True if the app is unchanged, and the shell's own Deployment was changed.
    """

    old_image: str
    new_image: str
    since: float | None
    modified: bool


def read_outdated(shell: Object | None) -> Outdated | None:
    """Read the annotations of a shell's Deployment; None if the shell is up to date or not running."""
    if shell is None or not (shell.get("spec") or {}).get("replicas", 1):
        return None
    annotations = shell["metadata"].get("annotations") or {}
    stale = annotations.get(STALE)
    if not stale:
        return None
    since = parse_time(str(annotations.get(STALE_SINCE, "")))
    old, new = str(annotations.get(IMAGE_NAME, "")), str(annotations.get(NEW_IMAGE_NAME, ""))
    return Outdated(old, new, since, modified=stale == annotations.get(TEMPLATE))


def choose_marks(shell: Object, stale: str | None, image: str, now: float) -> dict[str, str | None]:
    """Return the annotations to write besides `stale` (as in `lifecycle.Mark`).

    The time is set to `now` when a shell becomes outdated, and again when its app changes to another image
    (`image`). Any other change of the app leaves the time as it is.
    """
    if stale is None:
        return {NEW_IMAGE_NAME: None, STALE_SINCE: None}
    before = read_outdated(shell)
    if before is not None and before.new_image == image:
        return {}
    return {NEW_IMAGE_NAME: image, STALE_SINCE: show_time(now)}


def describe_outdated(app: str, state: Outdated, users: Sequence[str] = ()) -> str:
    """Return one line about an outdated shell. `users` are the users known to have sessions there."""
    at = "" if state.since is None else f" at {_minute(state.since)}"
    if state.modified:
        what = f"the Deployment of {app}'s shell was changed{at}; it"
    elif state.new_image and state.old_image and state.new_image != state.old_image:
        new, old = _image(state.new_image), _image(state.old_image)
        what = f"{app} changed to {new}{at}; this shell still runs {old} and"
    else:
        what = f"{app} has changed{at}; this shell still has the old version and"
    return f"{what} is replaced when {_condition(users)}"


def make_notice(app: str, state: Outdated) -> str:
    """Return the sentence for developers in the shell, which says how to get the new version."""
    return f"{describe_outdated(app, state)}; to get the new version, log out and log in again after a minute"


def _condition(users: Sequence[str]) -> str:
    names = sorted(set(users))
    if not names:
        return "it has no open sessions"
    if len(names) == 1:
        return f"{names[0]} has left"
    rest = len(names) - MAX_NAMES
    # The name of a single further user is no longer than "1 other".
    named, last = (names[:-1], names[-1]) if rest <= 1 else (names[:MAX_NAMES], f"{rest} others")
    return f"{', '.join(named)} and {last} have left"


def _image(name: str) -> str:
    return clean_text(name, MAX_IMAGE_CHARS)


def _minute(at: float) -> str:
    return f"{show_time(at)[:16].replace('T', ' ')} UTC"
