"""Events and changes as the audit and an administrator would make them."""

import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from stagedoor.model.event import Event, EventKind
from stagedoor.settings.store_location import StoreLocation, StoreServer
from stagedoor.store.database import Database
from stagedoor.store.policy import PolicyChange, change_policy


def opened(session: str, *, at: float = 100.0, instance: str = "one", who: str = "alice") -> Event:
    return Event(
        at=at,
        kind=EventKind.SESSION_OPENED,
        instance=instance,
        session=session,
        identity=who,
        target="app01.ssh",
        source="10.0.0.1:40000",
        access_method="connect",
        fields={"method": "password"},
    )


def closed(
    session: str,
    *,
    at: float = 200.0,
    end: str = "closed",
    sent: int = 10,
    received: int = 20,
    instance: str = "one",
) -> Event:
    return Event(
        at=at,
        kind=EventKind.SESSION_CLOSED,
        instance=instance,
        session=session,
        identity="alice",
        target="app01.ssh",
        source="10.0.0.1:40000",
        access_method="connect",
        reason=end,
        fields={"sent": sent, "received": received, "detail": ""},
    )


def resumed(session: str, *, at: float = 150.0, instance: str = "two") -> Event:
    return Event(
        at=at,
        kind=EventKind.SESSION_RESUMED,
        instance=instance,
        session=session,
        identity="alice",
        target="app01.ssh",
        source="192.0.2.7:50000",
        access_method="connect",
        fields={"method": "password", "away_s": 3.5},
    )


def denied(*, at: float = 100.0) -> Event:
    return Event(
        at=at,
        kind=EventKind.SESSION_DENIED,
        instance="one",
        source="10.0.0.1:40000",
        access_method="connect",
        reason="no_grant",
        fields={"message": "no grant"},
    )


def change(
    database: Database, action: str, at: float = 50.0
) -> AbstractContextManager[PolicyChange]:
    return change_policy(database, at=at, instance="desk", actor="root@here", action=action)


def python(code: str, *arguments: str | StoreLocation) -> subprocess.Popen[str]:
    """A process of its own that runs `code`; talk to it by its stdin and stdout.

    It gets a place back from its argument by `place_from`.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "tests.store.apart", code, *map(place_text, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def place_text(place: str | StoreLocation) -> str:
    return f"{place.url} {place.password_file}" if isinstance(place, StoreServer) else str(place)


def place_from(text: str) -> StoreLocation:
    url, space, password_file = text.partition(" ")
    return StoreServer(url, Path(password_file)) if space else Path(text)
