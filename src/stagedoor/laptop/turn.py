"""A lock by which one of many `stagedoor login --if-needed` logs in, while the others wait for its result.

Every ssh runs one, and Ansible starts 50 at once, so this module imports next to nothing.
"""

from __future__ import annotations

import os
import time

from stagedoor.laptop.needed import ASKING, is_fresh

LOCK = "lock"
"""In the gateway's folder."""
LOOK_S = 0.1
WAIT_S = 190.0
"""A little longer than the time that a person has for a login."""


class LoginLock:
    """A file lock on a gateway's folder. It ends with its process, so a crash releases it at once."""

    def __init__(self, folder: str, began: float) -> None:
        """Make a lock that `wait` acquires. `began` is when ssh began to wait, seconds since the epoch."""
        self._folder = folder
        self._fd = -1
        self._began = began
        self.is_held = False

    def wait(self) -> bool:
        """Acquire the lock, for up to `WAIT_S`. Return True if it is held and the certificate is not fresh.

        Raises OSError.
        """
        import fcntl

        self._fd = os.open(os.path.join(self._folder, LOCK), os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if is_fresh(self._folder) or time.monotonic() > deadline:
                    return False
            else:
                self.is_held = True
                return not is_fresh(self._folder)
            time.sleep(LOOK_S)

    def find_recent_failure(self) -> int:
        """Return the exit code of the last holder if it failed after ssh began to wait; else 0."""
        text = os.pread(self._fd, 64, 0).decode("ascii", "replace")
        try:
            at, code = text.split()
            return int(code) if float(at) >= self._began else 0
        except ValueError:
            return 0

    def record_failure(self, code: int) -> None:
        """Record an exit code, with which the waiting processes fail too, without asking a person again."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{time.time()} {code}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Release the lock, and remove the pid file that a shell may have written for this client."""
        if self.is_held:
            try:
                os.unlink(os.path.join(self._folder, ASKING))
            except OSError:
                pass  # not every client is started by such a shell
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
