"""Permissions: the sets that grants give, their text forms, and the refusal for a missing one. Pure."""

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.target import Target


class Permission(StrEnum):
    """The permissions, in the order in which they are shown."""

    ENTER = "enter"
    """Log in to the app's shell, by every access method."""
    FILES = "files"
    """Move files through the terminal's page."""
    RUN = "run"
    """Run one-off tasks with the app's environment, and see and cancel those of others."""
    FORWARD = "forward"
    """Forward ports to the shell's loopback (`ssh -L`), by direct login."""
    AGENT = "agent"
    """Forward the SSH agent (`ssh -A`), by direct login."""
    WATCH = "watch"
    """Watch the WebShell's terminals while others work in them."""
    RECORD = "record"
    """A duty rather than a right: terminals whose SSH ends at the gateway are recorded."""
    REPLAY = "replay"
    """Play recordings of the app's terminals on the web."""


Permissions = frozenset[Permission]

NOTHING: Permissions = frozenset()
ENTERING: Permissions = frozenset({Permission.ENTER})
DEFAULT: Permissions = frozenset({Permission.ENTER, Permission.FILES})
"""The permissions of a grant that lists none, as of grants from before permissions existed."""

_SETS = 1024
"""The number of cached sets of permissions. Fifty thousand grants have only a few different ones."""
_DOES = {
    Permission.ENTER: "entering",
    Permission.FILES: "moving files through the page into or out of",
    Permission.RUN: "running a task in",
    Permission.FORWARD: "port forwarding into",
    Permission.AGENT: "agent forwarding into",
    Permission.WATCH: "watching terminals of",
    Permission.RECORD: "recording terminals of",
    Permission.REPLAY: "playing recordings of",
}


@lru_cache(_SETS)
def sort_permissions(permissions: Permissions) -> tuple[Permission, ...]:
    """Return the permissions in the order of `Permission`."""
    return tuple(permission for permission in Permission if permission in permissions)


@lru_cache(_SETS)
def to_words(permissions: Permissions) -> str:
    """Format permissions for the store and for people: `enter files`."""
    return " ".join(sort_permissions(permissions))


@lru_cache(_SETS)
def from_words(words: str) -> Permissions:
    """Parse permissions from the store. A word from a newer version permits nothing."""
    return frozenset(known for known in Permission if known.value in words.split())


def parse_permissions(texts: Iterable[str]) -> Permissions:
    """Parse texts such as `forward,agent`. Raises ValueError, which lists all permissions."""
    words = [word.strip() for text in texts for word in text.split(",")]
    known = frozenset(Permission)
    for word in words:
        if word not in known:
            raise ValueError(f"{word!r} is not a permission; there are: {', '.join(Permission)}")
    return frozenset(map(Permission, words))


def combine_permissions(allow: Permissions, without: Permissions) -> Permissions:
    """Return the permissions of a new grant: the default less `without`, plus `allow`. Raises ValueError.

    Without `enter`, the rest of the default is left out too, so that a grant that adds one permission to
    other grants does not add another by accident.
    """
    if both := allow & without:
        raise ValueError(f"{to_words(both)}: both allowed and taken away")
    if extra := without - DEFAULT:
        raise ValueError(f"{to_words(extra)}: no grant permits that unless it is allowed")
    default = NOTHING if Permission.ENTER in without else DEFAULT - without
    if not (permissions := default | allow):
        raise ValueError("this grant would permit nothing; name what it permits with --allow")
    return permissions


def make_permission_denial(permission: Permission, name: str, target: Target) -> Denial:
    """Return the refusal of a permission to `name`, with the administrator's command that grants it."""
    option = f" --environment {target.environment}" if target.environment else ""
    return Denial.with_fix(
        Reason.NO_GRANT,
        f"{_DOES[permission]} {target} is not granted to {name!r}",
        f"an administrator grants it with: stagedoor grant add user:{name} {target.app}{option} "
        f"--allow {permission} --without enter",
        "ask an administrator for it",
    )
