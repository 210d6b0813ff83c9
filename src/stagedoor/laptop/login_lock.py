"""The lock of `stagedoor login --if-needed`: one process logs in, and the others wait for its result.

Every ssh runs one, and Ansible starts 50 at once, so this module imports very little.
"""

from __future__ import annotations

import os
import time

from stagedoor.laptop.if_needed import PID_FILE, is_fresh

LOCK = "lock"
"""In the gateway's folder."""
POLL_S = 0.1
WAIT_S = 190.0
"""Slightly longer than the time limit of a login."""


class LoginLock:
    """A file lock on a gateway's folder. It ends with its process, so a crash releases it."""

    def __init__(self, folder: str, began: float) -> None:
        """Create a lock, unlocked. `began` is when ssh started to wait, in seconds since the epoch."""
        self._folder = folder
        self._fd = -1
        self._began = began
        self.is_held = False

    def wait(self) -> bool:
        """Wait up to `WAIT_S` for the lock, or for a fresh certificate. Return True if a login is needed now.

        `is_held` is False after a time-out. Raises OSError.
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
            time.sleep(POLL_S)

    def find_recent_failure(self) -> int:
        """Return the exit code of the last holder if it failed after ssh started to wait, else 0."""
        text = os.pread(self._fd, 64, 0).decode("ascii", "replace")
        try:
            at, code = text.split()
            return int(code) if float(at) >= self._began else 0
        except ValueError:
            return 0

    def record_failure(self, code: int) -> None:
        """Record an exit code. The waiting processes then fail with it, instead of prompting again."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{time.time()} {code}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Release the lock, and remove the pid file that a shell may have created for this client."""
        if self.is_held:
            try:
                os.unlink(os.path.join(self._folder, PID_FILE))
            except OSError:
                pass  # no shell has created one
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
