"""Children: started with real descriptors, reaped by one SIGCHLD handler.

posix_spawn and not fork: nothing of ours runs in the child between, threads do no harm, and the
child is a session leader that opens its terminal itself and so has it as its controlling one.
"""

import asyncio
import os
import pwd
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

# Python ignores some of these, and the gateway's parent may have (nohup): the child must
# have every signal's default action.
_DEFAULTS = [
    signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM,
    signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2,
]  # fmt: skip

_NO_LOGIN = ("nologin", "false")


@dataclass(frozen=True, slots=True)
class Account:
    """The OS user who runs us, and so every shell."""

    name: str
    home: str
    shell: str

    @classmethod
    def ours(cls) -> "Account":
        """From passwd(5); containers run users who are not in it."""
        try:
            entry = pwd.getpwuid(os.getuid())
        except KeyError:
            return cls(str(os.getuid()), "/", "/bin/sh")
        shell = entry.pw_shell or "/bin/sh"
        # A service's account has no shell to log in with, but logging in is what we are for.
        if os.path.basename(shell) in _NO_LOGIN:  # noqa: PTH119 - a name, not a file that we touch
            shell = "/bin/sh"
        return cls(entry.pw_name, entry.pw_dir, shell)


class Children:
    """Every child that runs, until it is reaped."""

    def __init__(self) -> None:
        self._exits: dict[int, Callable[[int], None]] = {}

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def spawn(
        self,
        path: str,
        argv: list[str],
        environment: Mapping[str, str],
        descriptors: Sequence[int] | str,
        on_exit: Callable[[int], None],
    ) -> int:
        """Start `path`; `descriptors` are 0, 1, 2, or the path of the terminal that is all three.

        `on_exit` gets the wait status (wait(2)). Returns the pid, which is the process group's
        too. Raises OSError when it cannot be started.
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
        """Send to the child's process group, if the child has not been reaped."""
        if pid in self._exits:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)

    def _reap(self) -> None:
        # One SIGCHLD may stand for several exits.
        for pid in tuple(self._exits):
            with suppress(ChildProcessError):
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    self._exits.pop(pid)(status)
