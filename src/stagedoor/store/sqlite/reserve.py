"""Disk space beside a SQLite store, reserved for taking rights away.

On a full disk all logins are refused, because the audit cannot be written. But to close open sessions needs a
write too. So a file of `SIZE` bytes is kept. A transaction that takes rights away empties it piece by piece,
and so frees blocks for the write-ahead log. Until the file has its full size again, every other transaction
is refused, so that logins do not use up the freed space.

On a file system that never overwrites (ZFS, Btrfs with snapshots), emptying a file may free no space.
"""

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

from stagedoor.model.errors import StoreError
from stagedoor.model.units import MIB

SIZE = 4 * MIB
"""About 1,000 pages of the log; removing a grant takes five or six."""
ROOM = SIZE // 2
"""Enough space to remove a user with hundreds of keys and tokens. Less free space counts as none."""
PIECE = SIZE // 16
"""The space that is freed at a time. If the program that filled the disk takes it before the log does, it
gets no more than this."""


class Reserve:
    """The reserve of the store at `store`. Call its methods under the store's write lock."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._file = store.with_name(f"{store.name}.reserve")
        self._log = store.with_name(f"{store.name}-wal")

    def keep(self) -> None:
        """Create the file or fill it again, before a transaction that may give rights.

        Raises StoreError if the reserve was used and the disk is still full. If it cannot be created in the
        first place, that is ignored: the disk may be too small for it.
        """
        try:
            used = self._file.stat().st_size < SIZE
        except FileNotFoundError:
            with suppress(OSError):
                self._create()
            return
        if not used:
            return
        try:
            self._create()
        except OSError:
            full = "disk full; free space on that file system (only taking rights away works until then)"
            raise StoreError(f"the store {self._store}: {full}", full) from None

    def spend(self) -> None:
        """Make room for the log, before a transaction that takes rights away."""
        if _has_room(self._store.parent):
            return
        with suppress(OSError):
            self._move_to_log()

    def _move_to_log(self) -> None:
        # Without delay, since others may continue to fill the disk. SQLite accepts zeros after the last frame
        # (https://www.sqlite.org/fileformat2.html#walformat), because a log that was reset has them too.
        with (
            open(self._file, "r+b", opener=_no_link) as reserve,
            open(self._log, "r+b", opener=_no_link) as log,
        ):
            left, end = os.fstat(reserve.fileno()).st_size, os.fstat(log.fileno()).st_size
            while left > 0:
                left = max(left - PIECE, 0)
                reserve.truncate(left)
                with suppress(OSError):
                    os.posix_fallocate(log.fileno(), end, PIECE)
                    end += PIECE

    def _create(self) -> None:
        """Create a full file, or replace the emptied one. Raises OSError."""
        if _free(self._store.parent) < 2 * SIZE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        draft = self._file.with_name(f"{self._file.name}.{secrets.token_hex(4)}")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                os.posix_fallocate(fd, 0, SIZE)
                # ZFS does not really allocate the space. Random data cannot be compressed, and it examines at
                # most 1 MiB.
                if os.fstat(fd).st_blocks * 512 < SIZE:
                    file.write(os.urandom(MIB) * (SIZE // MIB))
                owner = self._store.stat()
                if os.geteuid() == 0 and owner.st_uid != 0:
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            draft.rename(self._file)
        finally:
            draft.unlink(missing_ok=True)


def _no_link(path: str, flags: int) -> int:
    """Open a file of the gateway's account, but no link, which the account may have planted for root."""
    return os.open(path, flags | os.O_NOFOLLOW)


def _has_room(folder: Path) -> bool:
    """Return whether `ROOM` bytes can be allocated, also under a quota. A file without a name tests it."""
    try:
        fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # the file system does not support O_TMPFILE, open(2)
        return _free(folder) >= ROOM
    try:
        os.posix_fallocate(fd, 0, ROOM)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _free(folder: Path) -> int:
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize
