"""What a grant permits. Pure: words in, a set out, and the message for what is missing."""

from collections.abc import Iterable
from enum import StrEnum

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.target import Target


class Permission(StrEnum):
    """In the order in which they are shown."""

    ENTER = "enter"
    """Log in to the app's shell, by every access method."""
    FILES = "files"
    """Move files through the terminal's page."""
    FORWARD = "forward"
    """Forward ports to the shell's loopback (`ssh -L`), by direct login."""
    AGENT = "agent"
    """Forward the SSH agent (`ssh -A`), by direct login."""
    WATCH = "watch"
    """Watch the WebShell's terminals while others work in them."""
    RECORD = "record"
    """A duty, not a right: terminals that end at the gateway are recorded."""
    REPLAY = "replay"
    """Play recordings of the app's terminals on the web."""


Permissions = frozenset[Permission]

NOTHING: Permissions = frozenset()
DEFAULT: Permissions = frozenset({Permission.ENTER, Permission.FILES})
"""Of a grant that does not say otherwise: what everybody had before grants could say it."""

_DOES = {
    Permission.ENTER: "entering",
    Permission.FILES: "moving files through the page into or out of",
    Permission.FORWARD: "port forwarding into",
    Permission.AGENT: "agent forwarding into",
    Permission.WATCH: "watching terminals of",
    Permission.RECORD: "recording terminals of",
    Permission.REPLAY: "playing recordings of",
}


def in_order(permissions: Permissions) -> tuple[Permission, ...]:
    return tuple(one for one in Permission if one in permissions)


def to_words(permissions: Permissions) -> str:
    """As it is stored, and shown: `enter files`."""
    return " ".join(in_order(permissions))


def from_words(words: str) -> Permissions:
    """From the store. A word of a newer program permits nothing."""
    return frozenset(one for one in Permission if one.value in words.split())


def parse_permissions(texts: Iterable[str]) -> Permissions:
    """From `forward,agent`, given once or several times. Raises ValueError, which names what there is."""
    found = set()
    for word in ",".join(texts).split(","):
        try:
            found.add(Permission(word.strip()))
        except ValueError:
            known = ", ".join(Permission)
            raise ValueError(f"{word.strip()!r} is no permission; there are: {known}") from None
    return frozenset(found)


def given_by(allow: Permissions, without: Permissions) -> Permissions:
    """What a new grant permits: the default less `without`, and `allow`. Raises ValueError.

    Without `enter` the rest of the default goes too: a grant that only adds a permission to what others
    give must not add a second one unasked.
    """
    if both := allow & without:
        raise ValueError(f"{to_words(both)}: both allowed and taken away")
    if extra := without - DEFAULT:
        raise ValueError(f"{to_words(extra)}: no grant permits that unless it is allowed")
    default = NOTHING if Permission.ENTER in without else DEFAULT - without
    if not (given := default | allow):
        raise ValueError("this grant would permit nothing; name what it permits with --allow")
    return given


def not_granted(permission: Permission, name: str, target: Target) -> Denial:
    """Why `name` may not do that, and the command that changes it."""
    option = f" --environment {target.environment}" if target.environment else ""
    return Denial.with_mend(
        Reason.NO_GRANT,
        f"{_DOES[permission]} {target} is not granted to {name!r}",
        f"an administrator grants it with: stagedoor grant add user:{name} {target.app}{option} "
        f"--allow {permission} --without enter",
        "ask an administrator for it",
    )
