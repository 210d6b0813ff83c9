"""The folder of one shell: where its process and any number of gateway workers agree.

    lock             flock: exclusive to start or to stop, shared to find
    state.json       where the process listens; it holds a flock on this file while it lives
    used             its mtime is when somebody last asked for the shell
    authorized_keys  who may log in now
    failed           why the last start failed; absent when it did not
    stderr.log       what the process said
    terminals        what the WebShell's terminals are held by, which outlives the process
    tmux-UID         the sockets of its tmux (`tmux.py`)

A flock goes with its process, however that ends, so nothing here outlives a crash or is fooled by
a process id that was used again.
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
    """What a process says of itself; `started_at` is seconds since the epoch."""

    pid: int
    host: str
    port: int
    digest: str
    started_at: float


class ShellFolder:
    """One shell's folder; made, mode 0700, by `make`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state.json"
        self.used = folder / "used"
        self.keys = folder / "authorized_keys"
        self.failed = folder / "failed"
        self.errors = folder / "stderr.log"
        self.terminals = folder / "terminals"

    def make(self) -> None:
        """Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self.used.touch(0o600)

    @contextmanager
    def locked(self, *, shared: bool = False, wait: bool = True) -> Iterator[None]:
        """Hold the lock. Raises BlockingIOError if it is held and we should not wait."""
        kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, kind)
            yield
        finally:
            os.close(fd)

    def running(self) -> Running | None:
        """The process that lives, if one does. Raises OSError when that cannot be told."""
        found = self.watched()
        if found is None:
            return None
        running, life_sign = found
        os.close(life_sign)
        return running

    def watched(self) -> tuple[Running, int] | None:
        """The same, and a descriptor by which `lives` tells when it has gone; the caller's to close.

        A process that has withdrawn may live on for its last sessions. Raises OSError.
        """
        try:
            fd = os.open(self.state, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            if lives(fd):
                return Running(**json.loads(os.pread(fd, _STATE_BYTES, 0))), fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def publish(self, running: Running) -> int:
        """Say where we listen, whole or not at all; the descriptor returned is our life sign."""
        draft = self._draft(self.state)
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.write(fd, json.dumps(asdict(running)).encode())
        draft.rename(self.state)
        return fd

    def withdraw(self, life_sign: int) -> None:
        """Unsay it, unless another has taken the place."""
        with suppress(FileNotFoundError):
            ours, theirs = os.fstat(life_sign), self.state.stat()
            if (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino):
                self.state.unlink()

    def mark_used(self) -> None:
        """Somebody asks now."""
        os.utime(self.used)

    def last_used(self) -> float:
        """When somebody last asked, seconds since the epoch."""
        try:
            return self.used.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def write_keys(self, text: str) -> None:
        """Replace the key file, whole, if it differs. Raises OSError.

        Then, as on a full disk, nobody logs in by it: whom the old one lets in may have to stay out.
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


def lives(life_sign: int) -> bool:
    """Whether the process still holds the lock that ends with it."""
    try:
        fcntl.flock(life_sign, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(life_sign, fcntl.LOCK_UN)
    return False
