"""Lock files that show which worker processes are alive, and the closing of dead ones' sessions.

A worker holds a lock (flock(2)) on `<folder>/<instance>.lock` as long as it lives. The kernel releases it
when the worker dies in any way, SIGKILL included, so a file that cannot be locked belongs to a live process.
A child that was forked without exec shares the lock, so take the lock in the worker itself, after the fork.

A process on another machine that shares the store has no file here: see `heartbeat`.
"""

import fcntl
import os
import platform
import re
import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager
from enum import Enum, auto
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import Row, delete, select

from stagedoor.model.errors import StoreError
from stagedoor.model.event import Event, EventKind
from stagedoor.model.session import EndReason
from stagedoor.settings.safe_files import hold_open, open_unplanted
from stagedoor.store.database import Database
from stagedoor.store.journal import append
from stagedoor.store.schema import instances, sessions

_ID = re.compile(r"[A-Za-z0-9.-]{1,100}", re.ASCII)


def make_instance_id() -> str:
    """Return a unique name for this process: machine, process id and six random hexadecimal digits."""
    machine = re.sub(r"[^A-Za-z0-9-]", "-", platform.node().partition(".")[0]) or "here"
    return f"{machine[:60]}-{os.getpid()}-{secrets.token_hex(3)}"


class InstanceLock:
    """The lock of this process, held while it lives. Closing it shows that the process has ended properly."""

    def __init__(self, instance: str, path: Path, fd: int) -> None:
        self.instance = instance
        self._path = path
        self._fd = fd

    def release(self) -> None:
        """Remove the file and release the lock. May be called again."""
        if self._fd >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1


def find_instances_folder(data_dir: Path) -> Path:
    """Return the folder of the lock files."""
    return data_dir / "instances"


def hold_instance(folder: Path, instance: str) -> InstanceLock:
    """Take the lock of `instance`, before its first session. Raises StoreError."""
    path = _path(folder, instance)
    try:
        # One by one: mkdir's `parents` would create the data folder, if no SQLite store has created it, with
        # the mode of the umask.
        for private in (folder.parent, folder):
            private.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        # Waits only for `lock_state` in another process, which takes microseconds.
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError as error:
        raise StoreError(f"{path} cannot be made and locked: {error.strerror}") from error
    return InstanceLock(instance, path, fd)


class LockState(Enum):
    """The state of a process's lock file."""

    LIVES = auto()
    """A live process holds the lock."""
    DEAD = auto()
    """The process died without removing the file."""
    NONE = auto()
    """There is no file."""


def lock_state(folder: Path, instance: str) -> LockState:
    """Return the state of the lock of `instance`. Raises StoreError if it cannot be determined."""
    path = _path(folder, instance)
    try:
        with _open_folder(folder) as around:
            # No link: root checks locks too, in a folder that the gateway's account may write.
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(path.name, flags, dir_fd=around)
    except FileNotFoundError:
        return LockState.NONE
    except OSError as error:
        raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return LockState.LIVES
    except OSError as error:
        raise StoreError(f"{path} cannot be locked: {error.strerror}") from error
    finally:
        os.close(fd)
    return LockState.DEAD


def list_live(folder: Path) -> list[str]:
    """Return the names of the processes that hold a lock in this folder, sorted. Raises StoreError."""
    names = sorted(file.stem for file in folder.glob("*.lock"))
    return [
        name
        for name in names
        if _ID.fullmatch(name) and lock_state(folder, name) is LockState.LIVES
    ]


def list_instances(database: Database) -> list[str]:
    """Return the names of the worker processes of all machines that share the store. Raises StoreError."""
    with database.read() as transaction:
        return sorted(transaction.execute(select(instances.c.id)).scalars())


def remove_lock(folder: Path, instance: str) -> None:
    """Remove the lock file of a process that the caller knows to be dead. Raises StoreError.

    Do not call it just because the file is unlocked: its process may be about to lock it.
    """
    path = _path(folder, instance)
    try:
        with _open_folder(folder) as around:
            os.unlink(path.name, dir_fd=around)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"{path} cannot be removed: {error.strerror}") from error


def _open_folder(folder: Path) -> AbstractContextManager[int]:
    """Open the folder, which belongs to the gateway's account. Root follows no link there. Raises OSError."""
    return hold_open(open_unplanted(folder, os.O_RDONLY | os.O_DIRECTORY))


def close_lost(
    database: Database,
    folder: Path,
    *,
    now: float,
    instance: str,
    silent: frozenset[str] = frozenset(),
    silent_for: str = "",
) -> list[str]:
    """Close in the audit, with the reason `lost`, every open session of a dead instance.

    An instance is dead if no process holds its lock file. An instance without a file is dead if only this
    machine uses the store. In a shared store it is dead if it is in `silent`, and the audit then gives the
    words of `silent_for`.

    `instance` is the process that calls this. The sessions end at `now`, since their real end is unknown.
    Return the sessions' ids. Several processes may call it at once. Raises StoreError.
    """
    dead = _dead(database, folder, dict.fromkeys(silent, silent_for))
    if not dead:
        return []
    with database.write() as transaction:
        # Read again under the write lock: a session that another process closed or adopted meanwhile is not
        # lost.
        of_the_dead = sessions.c.instance.in_(list(dead))
        lost = transaction.execute(
            select(sessions).where(sessions.c.closed_at.is_(None), of_the_dead).with_for_update()
        ).all()
        transaction.execute(delete(instances).where(instances.c.id.in_(list(dead))))
        append(
            transaction,
            [
                make_session_event(
                    EventKind.SESSION_CLOSED,
                    row,
                    now,
                    instance,
                    f"the gateway process {row.instance} {dead[row.instance]}",
                    EndReason.LOST,
                )
                for row in lost
            ],
        )
    for name in dead:
        remove_lock(folder, name)
    return [row.id for row in lost]


def _dead(database: Database, folder: Path, silent: Mapping[str, str]) -> dict[str, str]:
    """Return the dead instances in the store, each with the audit's words for how it died."""
    with database.read() as transaction:
        names = set(
            transaction.execute(
                select(sessions.c.instance).where(sessions.c.closed_at.is_(None)).distinct()
            ).scalars()
        )
        names |= set(transaction.execute(select(instances.c.id)).scalars())
    dead: dict[str, str] = {}
    for name in sorted(names):
        state = lock_state(folder, name)
        if state is LockState.DEAD or (state is LockState.NONE and not database.shared):
            dead[name] = "died"
        elif state is LockState.NONE and name in silent:
            dead[name] = silent[name]
    return dead


def make_session_event(
    kind: EventKind,
    row: Row[Any],
    now: float,
    instance: str,
    detail: str,
    end: EndReason | None = None,
) -> Event:
    """Return an event about the session `row`, written by `instance`; `end` is the reason of its end."""
    fields = {"sent": row.sent, "received": row.received, "detail": detail}
    return Event(
        at=now,
        kind=kind,
        instance=instance,
        session=row.id,
        identity=row.identity,
        target=row.target,
        source=row.source,
        access_method=row.way,
        reason=end,
        fields=MappingProxyType(fields),
    )


def _path(folder: Path, instance: str) -> Path:
    if not _ID.fullmatch(instance):
        raise StoreError(f"{instance!r} is not an instance id: letters, digits, '.' and '-' only")
    return folder / f"{instance}.lock"
