"""Which worker processes live, and the sessions of those that died.

A worker holds a lock (flock(2)) on `<folder>/<instance>.lock` for as long as it lives. The kernel
lets go of it at any death, SIGKILL included, so what cannot be locked belongs to the living. The
lock is shared with children made by fork without exec: hold it in the worker itself, after fork.

Of a process on another machine, with which this one shares a store, there is no file here: see
`heartbeat`.
"""

import fcntl
import os
import platform
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import Row, delete, select

from stagedoor.model.errors import StoreError
from stagedoor.model.event import Event, Kind
from stagedoor.model.session import End
from stagedoor.settings.careful import open_unplanted
from stagedoor.store.database import Database
from stagedoor.store.journal import append
from stagedoor.store.schema import instances, sessions

_ID = re.compile(r"[A-Za-z0-9.-]{1,100}", re.ASCII)


def new_instance_id() -> str:
    """A name for this process that no other ever has: machine, process id, six random digits."""
    machine = re.sub(r"[^A-Za-z0-9-]", "-", platform.node().partition(".")[0]) or "here"
    return f"{machine[:60]}-{os.getpid()}-{secrets.token_hex(3)}"


class InstanceLock:
    """This process's sign of life. Closing it says that the process has ended in order."""

    def __init__(self, instance: str, path: Path, fd: int) -> None:
        self.instance = instance
        self._path = path
        self._fd = fd

    def close(self) -> None:
        """Take the sign down. May be called again."""
        if self._fd >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1


def instances_folder(data_dir: Path) -> Path:
    return data_dir / "instances"


def hold_instance(folder: Path, instance: str) -> InstanceLock:
    """Show that `instance` lives, before its first session. Raises StoreError."""
    path = _path(folder, instance)
    try:
        # mkdir's `parents` gives the folder around it the mode that the umask says: the data folder, where no
        # SQLite store has made it.
        for private in (folder.parent, folder):
            private.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        # Waits only for a look from `sign_of`, which takes microseconds.
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError as error:
        raise StoreError(f"{path} cannot be made and locked: {error.strerror}") from error
    return InstanceLock(instance, path, fd)


class Sign(Enum):
    """What a process's lock file says of it."""

    LIVES = auto()
    DEAD = auto()
    NONE = auto()
    """There is no file."""


def sign_of(folder: Path, instance: str) -> Sign:
    """Whether some process holds `instance`. Raises StoreError where that cannot be found out."""
    path = _path(folder, instance)
    try:
        with _opened(folder) as around:
            # No link: root looks too, in a folder of the gateway's account.
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(path.name, flags, dir_fd=around)
    except FileNotFoundError:
        return Sign.NONE
    except OSError as error:
        raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Sign.LIVES
    except OSError as error:
        raise StoreError(f"{path} cannot be locked: {error.strerror}") from error
    finally:
        os.close(fd)
    return Sign.DEAD


def live_signs(folder: Path) -> list[str]:
    """The processes that hold a sign in this folder now, by name. Raises StoreError."""
    names = sorted(file.stem for file in folder.glob("*.lock"))
    return [name for name in names if _ID.fullmatch(name) and sign_of(folder, name) is Sign.LIVES]


def known_instances(database: Database) -> list[str]:
    """The worker processes of all machines that share the store, by name. Raises StoreError."""
    with database.read() as transaction:
        return sorted(transaction.execute(select(instances.c.id)).scalars())


def take_down(folder: Path, instance: str) -> None:
    """Remove the sign of a process that the caller knows to be dead.

    Only then: a sign that is not locked yet may be that of one who is just putting it up.
    """
    path = _path(folder, instance)
    try:
        with _opened(folder) as around:
            os.unlink(path.name, dir_fd=around)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"{path} cannot be removed: {error.strerror}") from error


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Open the folder, as root past no link of the gateway's account, to which it belongs. Raises OSError."""
    fd = open_unplanted(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def close_lost(
    database: Database,
    folder: Path,
    *,
    now: float,
    instance: str,
    silent: frozenset[str] = frozenset(),
    silent_for: str = "",
) -> list[str]:
    """Close in the audit, reason `lost`, every open session of an instance that is dead.

    Dead is whose lock file nobody holds. Who has none is dead if the store is this machine's
    alone; in a store that machines share, if it is one of `silent`, and the audit says so in the
    words of `silent_for`.

    `instance` is who found them, `now` is when they end, since nobody knows better. Returns the
    sessions' ids. Safe to run in several processes at once. Raises StoreError.
    """
    dead = _dead(database, folder, dict.fromkeys(silent, silent_for))
    if not dead:
        return []
    with database.write() as transaction:
        # Read again under the write lock: what another process closed meanwhile is not lost.
        of_the_dead = sessions.c.instance.in_(list(dead))
        lost = transaction.execute(
            select(sessions).where(sessions.c.closed_at.is_(None), of_the_dead)
        ).all()
        transaction.execute(delete(instances).where(instances.c.id.in_(list(dead))))
        append(transaction, [_lost(row, dead[row.instance], now, instance) for row in lost])
    for name in dead:
        take_down(folder, name)
    return [row.id for row in lost]


def _dead(database: Database, folder: Path, silent: Mapping[str, str]) -> dict[str, str]:
    """Each dead instance of which the store knows, and what became of it in the audit's words."""
    with database.read() as transaction:
        named = set(
            transaction.execute(
                select(sessions.c.instance).where(sessions.c.closed_at.is_(None)).distinct()
            ).scalars()
        )
        named |= set(transaction.execute(select(instances.c.id)).scalars())
    dead: dict[str, str] = {}
    for name in sorted(named):
        sign = sign_of(folder, name)
        if sign is Sign.DEAD or (sign is Sign.NONE and not database.shared):
            dead[name] = "died"
        elif sign is Sign.NONE and name in silent:
            dead[name] = silent[name]
    return dead


def _lost(row: Row[Any], how: str, now: float, instance: str) -> Event:
    """The end of the open session `row`, which `instance` found."""
    detail = f"the gateway process {row.instance} {how}"
    fields = {"sent": row.sent, "received": row.received, "detail": detail}
    return Event(
        at=now,
        kind=Kind.SESSION_CLOSED,
        instance=instance,
        session=row.id,
        identity=row.identity,
        target=row.target,
        source=row.source,
        way=row.way,
        reason=End.LOST,
        fields=MappingProxyType(fields),
    )


def _path(folder: Path, instance: str) -> Path:
    if not _ID.fullmatch(instance):
        raise StoreError(f"{instance!r} is no instance id: letters, digits, '.' and '-' only")
    return folder / f"{instance}.lock"
