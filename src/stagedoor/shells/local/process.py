"""Child processes, which are started with real descriptors and reaped by one SIGCHLD handler.

They are started with posix_spawn instead of fork, so that no Python code runs in the child, and threads do no
harm. The child is a session leader that opens its terminal itself, which becomes its controlling terminal.
"""

import asyncio
import os
import pwd
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

# Python ignores some of these signals, and the gateway's parent may ignore others (nohup). The child must
# have the default action of every signal.
_DEFAULTS = [
    signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM,
    signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2,
]  # fmt: skip

_NO_LOGIN = ("nologin", "false")


@dataclass(frozen=True, slots=True)
class LocalAccount:
    """The OS user who runs this process, and so every shell."""

    name: str
    home: str
    shell: str

    @classmethod
    def of_process(cls) -> "LocalAccount":
        """Return the account from passwd(5), or defaults for a user who is not in it, as in containers."""
        try:
            entry = pwd.getpwuid(os.getuid())
        except KeyError:
            return cls(str(os.getuid()), "/", "/bin/sh")
        shell = entry.pw_shell or "/bin/sh"
        # The account of a service has no login shell, but its local shells need one.
        if os.path.basename(shell) in _NO_LOGIN:  # noqa: PTH119 - a name, not a file that is opened
            shell = "/bin/sh"
        return cls(entry.pw_name, entry.pw_dir, shell)


class Children:
    """The children that have not been reaped yet."""

    def __init__(self) -> None:
        self._exits: dict[int, Callable[[int], None]] = {}

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Reap children in `loop` from now on."""
        loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def spawn(
        self,
        path: str,
        argv: list[str],
        environment: Mapping[str, str],
        descriptors: Sequence[int] | str,
        on_exit: Callable[[int], None],
    ) -> int:
        """Start `path`, and return its pid, which is also that of its process group.

        `descriptors` are its descriptors 0, 1 and 2, or the path of a terminal for all three. `on_exit`
        is called with the wait status (wait(2)). Raises OSError if it cannot be started.
        """
        actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]]
        if isinstance(descriptors, str):
            actions = [
                (os.POSIX_SPAWN_OPEN, 0, descriptors, os.O_RDWR, 0),
                (os.POSIX_SPAWN_DUP2, 0, 1),
                (os.POSIX_SPAWN_DUP2, 0, 2),
            ]
        else:
            actions = [(os.POSIX_SPAWN_DUP2, fd, n) for n, fd in enumerate(descriptors)]
        pid = os.posix_spawn(
            path,
            argv,
            dict(environment),
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=_DEFAULTS,
        )
        self._exits[pid] = on_exit
        return pid

    def signal_group(self, pid: int, number: int) -> None:
        """Send a signal to the child's process group, unless the child has been reaped."""
        if pid in self._exits:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)

    def _reap(self) -> None:
        # One SIGCHLD may be for several exits.
        for pid in tuple(self._exits):
            with suppress(ChildProcessError):
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    self._exits.pop(pid)(status)
