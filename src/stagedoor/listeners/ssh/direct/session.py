"""The session of a direct login in its shell, which all channels share."""

import asyncio

import asyncssh

from stagedoor.model.session import End
from stagedoor.upstream.session import ShellSession


class DirectSession:
    """A session in a shell, inside a `shell_session`, until `finish` is called."""

    def __init__(self, in_shell: ShellSession, idle_timeout_s: float | None) -> None:
        self.in_shell = in_shell
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._moved_at = self._loop.time()
        self._idle: asyncio.TimerHandle | None = None
        if idle_timeout_s is not None:
            self._watch_idle(idle_timeout_s)

    def count(self, sent: int, received: int) -> None:
        """Count bytes that a channel has moved."""
        self._moved_at = self._loop.time()
        self.in_shell.sent += sent
        self.in_shell.received += received

    def _watch_idle(self, timeout_s: float) -> None:
        """Close the session once no channel has moved a byte for `timeout_s`."""
        left_s = self._moved_at + timeout_s - self._loop.time()
        if left_s <= 0:
            self.in_shell.close_soon(End.IDLE, f"nothing came or went for {timeout_s:g} s")
        else:
            self._idle = self._loop.call_later(left_s, self._watch_idle, timeout_s)

    def finish(self, end: End, detail: str) -> None:
        """End the session like this."""
        self.in_shell.end_as(end, detail)
        self._over.set()

    async def wait_until_over(self) -> None:
        """Wait until the session is finished. The flow may cancel this."""
        try:
            await self._over.wait()
        finally:
            if self._idle is not None:
                self._idle.cancel()


class ShellWatch(asyncssh.SSHClient):
    """An observer of the connection to the shell. `lost` gets its error once it is lost.

    asyncssh itself refuses the shell's requests (forwarded ports, X11).
    """

    def __init__(self) -> None:
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the loss of the connection."""
        self.lost.set_result(exc)
