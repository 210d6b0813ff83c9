"""Disk space that is kept for taking rights away, beside a SQLite store.

On a full disk nobody is let in, since the audit cannot be written. Those inside can then be put out only
by a write. So a file of `SIZE` bytes is kept; a transaction that takes rights away empties it, piece by
piece, and gives its blocks to the write-ahead log. Until the file is full again every other transaction
is refused: logins must not use up what it has freed.

On a file system that never overwrites (ZFS, Btrfs with snapshots) an emptied file may free nothing.
"""

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

from stagedoor.model.errors import StoreError
from stagedoor.model.units import MIB

SIZE = 4 * MIB
"""Some 1,000 pages of the log; a grant that is removed takes five or six."""
ROOM = SIZE // 2
"""A user with hundreds of keys and tokens takes so much to remove; less free space counts as none."""
PIECE = SIZE // 16
"""What filled the disk may take what is freed before the log has it: then no more than this is lost."""


class Reserve:
    """That of the store at `store`. Both methods are called under the store's write lock."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._file = store.with_name(f"{store.name}.reserve")
        self._log = store.with_name(f"{store.name}-wal")

    def keep(self) -> None:
        """Before any other transaction: make the file, or fill it again.

        Raises StoreError where it was used and the disk is full still. One that was never there does
        not matter so much: the disk may be too small for it.
        """
        try:
            used = self._file.stat().st_size < SIZE
        except FileNotFoundError:
            with suppress(OSError):
                self._make()
            return
        if not used:
            return
        try:
            self._make()
        except OSError:
            full = "disk full; free space on that file system (only taking rights away works until then)"
            raise StoreError(f"the store {self._store}: {full}", full) from None

    def spend(self) -> None:
        """Before a transaction that takes rights away: see to it that the log has room."""
        if _has_room(self._store.parent):
            return
        with suppress(OSError):
            self._give_to_log()

    def _give_to_log(self) -> None:
        # At once, since what filled the disk goes on. SQLite minds no zeros after the last frame
        # (https://www.sqlite.org/fileformat2.html#walformat): that is how a log that was reset looks.
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

    def _make(self) -> None:
        """Put a whole file in place. Raises OSError."""
        around = self._store.parent
        if _free(around) < 2 * SIZE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        draft = self._file.with_name(f"{self._file.name}.{secrets.token_hex(4)}")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                os.posix_fallocate(fd, 0, SIZE)
                # ZFS promises only. What is random it cannot compress; it looks at a mebibyte at most.
                if os.fstat(fd).st_blocks * 512 < SIZE:
                    file.write(os.urandom(MIB) * (SIZE // MIB))
                owner = self._store.stat()
                if os.geteuid() == 0 and owner.st_uid != 0:
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            draft.rename(self._file)
        finally:
            draft.unlink(missing_ok=True)


def _no_link(path: str, flags: int) -> int:
    """Open a file of the gateway's account, which may have put a link in its place for root."""
    return os.open(path, flags | os.O_NOFOLLOW)


def _has_room(folder: Path) -> bool:
    """Whether `ROOM` bytes can be had, by quota too. The file that finds out has no name."""
    try:
        fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # the file system knows of no such files, open(2)
        return _free(folder) >= ROOM
    try:
        os.posix_fallocate(fd, 0, ROOM)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
