"""What every kind of shell answers to: local, static, Kubernetes."""

from typing import Protocol

from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.shell import Progress, Shell, ShellState
from stagedoor.model.target import Target


class Shells(Protocol):
    """A source of shells. Every adapter passes `tests/shells/conformance.py`.

    A start may take seconds and may fail; `ensure` is idempotent, and any number of callers in any
    number of processes cause one start. What is not an app here is a `Denial` (`NO_APP`).
    """

    def targets(self) -> tuple[Target, ...]:
        """Every target that could be entered now, running or not, in order of name.

        On a cluster apps come and go.
        """
        ...

    def knows(self, target: Target) -> bool:
        """Whether it is one of `targets`. Costs nothing."""
        ...

    async def ensure(self, grant: Grant, progress: Progress) -> Shell | Denial:
        """Return the shell once its sshd answers, starting it if need be.

        A failure is a `Denial` (`SHELL_UNAVAILABLE`) that names the step that failed and why. The
        caller bounds the time by cancelling; a cancelled `ensure` leaves a start to go on.
        """
        ...

    async def resolve(self, target: Target) -> Shell | None:
        """Where the shell listens now, without starting anything; None if it does not."""
        ...

    async def observe(self, target: Target) -> ShellState:
        """What is seen of the shell now, without starting anything."""
        ...

    def notice(self, target: Target) -> str | None:
        """One line that its developers should know of the shell as it runs now; None: nothing."""
        ...

    def touch(self, target: Target) -> None:
        """Somebody has entered: the shell is in use. Any thread; does not block."""
        ...

    def release(self, target: Target) -> None:
        """Somebody has left; once for each `touch`. Any thread; does not block."""
        ...

    async def close(self) -> None:
        """Stop watching; shells in use live on."""
        ...
