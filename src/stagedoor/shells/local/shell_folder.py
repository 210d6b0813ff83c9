"""The folder of one shell, through which its process and any number of gateway workers communicate.

    lock             flock: exclusive to start or stop the process, shared to find it
    state.json       the address of the process, which holds a flock on this file while it lives
    used             its mtime is the time of the last request for the shell
    authorized_keys  the keys that may log in now
    failed           why the last start failed; absent if it did not
    stderr.log       the standard error of the process
    terminals        the holders of the WebShell's terminals, which outlive the process
    tmux-UID         the sockets of the shell's tmux (`tmux.py`)

The kernel releases a flock when its process ends in any way. So no state here outlives a crash, and a reused
process id does no harm.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

_STATE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Running:
    """The state that a process publishes. `started_at` is in seconds since the epoch."""

    pid: int
    host: str
    port: int
    digest: str
    started_at: float


class ShellFolder:
    """The folder of one shell, which `make` creates with mode 0700."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state.json"
        self.used = folder / "used"
        self.keys = folder / "authorized_keys"
        self.failed = folder / "failed"
        self.errors = folder / "stderr.log"
        self.terminals = folder / "terminals"

    def make(self) -> None:
        """Create the folder. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self.used.touch(0o600)

    @contextmanager
    def hold_lock(self, *, shared: bool = False, wait: bool = True) -> Iterator[None]:
        """Hold the lock. Without `wait`, raises BlockingIOError if another process holds it."""
        kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, kind)
            yield
        finally:
            os.close(fd)

    def read_running(self) -> Running | None:
        """Return the state of the running process, or None. Raises OSError."""
        process = self.open_running()
        if process is None:
            return None
        running, life_sign = process
        os.close(life_sign)
        return running

    def open_running(self) -> tuple[Running, int] | None:
        """Return the state of the running process and its life sign, or None.

        The life sign is a descriptor for `is_alive`, which the caller closes. A process that has withdrawn
        its state may live on for its last sessions. Raises OSError.
        """
        try:
            fd = os.open(self.state, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            if is_alive(fd):
                return Running(**json.loads(os.pread(fd, _STATE_BYTES, 0))), fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def publish(self, running: Running) -> int:
        """Write the state of this process atomically, and return the descriptor that is its life sign."""
        draft = self._draft(self.state)
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.write(fd, json.dumps(asdict(running)).encode())
        draft.rename(self.state)
        return fd

    def withdraw(self, life_sign: int) -> None:
        """Remove the state of this process, unless another process has published its own."""
        with suppress(FileNotFoundError):
            ours, theirs = os.fstat(life_sign), self.state.stat()
            if (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino):
                self.state.unlink()

    def mark_used(self) -> None:
        """Record a request for the shell now."""
        os.utime(self.used)

    def read_last_use(self) -> float:
        """Return the time of the last request for the shell, in seconds since the epoch."""
        try:
            return self.used.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def write_keys(self, text: str) -> None:
        """Replace the key file atomically, if it differs. Raises OSError.

        After an error, such as a full disk, all logins are refused, since the old file may contain revoked
        keys.
        """
        with suppress(FileNotFoundError):
            if self.keys.read_text() == text:
                return
        draft = self._draft(self.keys)
        try:
            with draft.open("x") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(text)
            draft.rename(self.keys)
        except BaseException:
            draft.unlink(missing_ok=True)
            self.keys.unlink(missing_ok=True)
            raise

    def _draft(self, path: Path) -> Path:
        return path.with_name(f".{path.name}.{secrets.token_hex(8)}")


def is_alive(life_sign: int) -> bool:
    """Return whether the process still holds its lock. The kernel releases the lock when the process ends."""
    try:
        fcntl.flock(life_sign, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(life_sign, fcntl.LOCK_UN)
    return False
