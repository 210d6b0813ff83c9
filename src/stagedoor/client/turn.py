"""Of many `stagedoor login --if-needed` at once one logs in, and the others wait for what comes of it.

Each ssh runs one, 50 at once with Ansible, so it imports next to nothing. Standard library only, Python 3.8
or later.
"""

from __future__ import annotations

import os
import time

from stagedoor.client.needed import ASKING, is_fresh

LOCK = "lock"
"""In the gateway's folder."""
LOOK_S = 0.1
WAIT_S = 190.0
"""A little longer than a person has for a login."""


class LoginLock:
    """Goes with its process, so a dead one is followed at once."""

    def __init__(self, folder: str, began: float) -> None:
        """`began`: since when ssh waits, seconds since the epoch."""
        self._folder = folder
        self._fd = -1
        self._began = began
        self.ours = False

    def wait(self) -> bool:
        """Whether it is ours, and still needed. It is not ours after `WAIT_S`. Raises OSError."""
        import fcntl

        self._fd = os.open(os.path.join(self._folder, LOCK), os.O_RDWR | os.O_CREAT, 0o600)  # noqa: PTH118
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if is_fresh(self._folder) or time.monotonic() > deadline:
                    return False
            else:
                self.ours = True
                return not is_fresh(self._folder)
            time.sleep(LOOK_S)

    def failed_meanwhile(self) -> int:
        """The exit code of who had it before, where that failed after we began to wait; else 0."""
        text = os.pread(self._fd, 64, 0).decode("ascii", "replace")
        try:
            at, code = text.split()
            return int(code) if float(at) >= self._began else 0
        except ValueError:
            return 0

    def fail(self, code: int) -> None:
        """Those who wait for it fail too, and ask nobody again."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{time.time()} {code}\n".encode("ascii"), 0)

    def leave(self) -> None:
        if self.ours:
            try:  # noqa: SIM105
                os.unlink(os.path.join(self._folder, ASKING))  # noqa: PTH108, PTH118
            except OSError:
                pass  # not every client was begun by such a shell
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
