"""Who is at a terminal."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PresenceEntry:
    """Somebody at a terminal, in whatever worker; `looks` and does not type. `since` is seconds since
    the epoch; `share` is the id of the share by which a guest came."""

    session: str
    name: str
    source: str
    target: str
    terminal: str
    looks: bool
    since: float
    share: str | None = None
