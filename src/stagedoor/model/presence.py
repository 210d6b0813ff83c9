"""The users who are connected to terminals."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PresenceEntry:
    """A user at a terminal, in any worker.

    `is_watching` is True for a user who watches and cannot type. `since` is seconds since the epoch; `share`
    is the id of the share by which a guest came.
    """

    session: str
    name: str
    source: str
    target: str
    terminal: str
    is_watching: bool
    since: float
    share: str | None = None
