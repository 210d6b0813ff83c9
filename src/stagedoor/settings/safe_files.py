"""Safe ways to open files: secrets, and files in the folders of the gateway's account.

The account may create a symbolic link wherever it may write. A command that root runs there would follow
it to files that the account can neither read nor write. So root follows a link only if root owns it:
administrators use such links to keep recordings on a larger disk.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stagedoor.model.errors import SettingsError

LIMIT_CHARS = 4096


def read_secret(path: Path, setting: str, what: str) -> str:
    """Return the one line of a file that must not be world-readable.

    `setting` and `what` (`the password`) are for messages. Raises SettingsError, never with the line.
    """
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(LIMIT_CHARS)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"{setting}: cannot read {path}: {reason}") from None
    if mode & stat.S_IRWXO:
        raise SettingsError(f"{setting}: {path} is world-readable; run: chmod o= {path}")
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret or "\n" in secret or "\0" in secret:
        raise SettingsError(f"{setting}: {path} must hold one line, {what}")
    return secret


def open_unplanted(path: Path | str, flags: int, *, folder: int | None = None) -> int:
    """Open as open(2) does, but as root follow no link at the end of `path` that another account owns.

    `folder` is the descriptor of the folder that a relative path starts from. The owner and the target of a
    link are read from one inode, so replacing the link meanwhile changes nothing. Raises OSError, with
    ELOOP for a planted link.
    """
    flags |= os.O_CLOEXEC
    if os.geteuid() != 0:
        return os.open(path, flags, dir_fd=folder)
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        # ENOTDIR: O_DIRECTORY is checked before O_NOFOLLOW (open(2)).
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
    else:
        if not stat.S_ISLNK(os.fstat(fd).st_mode):
            return fd
        os.close(fd)  # O_PATH opens a link itself
    with hold_open(os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)) as link:
        entry = os.fstat(link)
        if not stat.S_ISLNK(entry.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        if entry.st_uid != 0:
            raise refuse_link(path)
        target = Path(path).parent / os.readlink("", dir_fd=link)
    return os.open(target, flags, dir_fd=folder)


@contextmanager
def hold_open(fd: int) -> Iterator[int]:
    """Yield a descriptor, and close it at the end."""
    try:
        yield fd
    finally:
        os.close(fd)


def refuse_link(path: Path | str) -> OSError:
    """Return the error for a link that root must not follow."""
    reason = "another account owns this link, so root does not follow it; create it again as root"
    return OSError(errno.ELOOP, reason, str(path))


def is_planted(path: Path) -> bool:
    """Return whether `path` is a link that root must not follow."""
    return os.geteuid() == 0 and path.is_symlink() and path.lstat().st_uid != 0
