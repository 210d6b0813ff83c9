"""The interface that every source of shells implements: local, static, Kubernetes."""

from typing import Protocol

from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.shell import Progress, Shell, ShellState
from stagedoor.model.target import Target


class Shells(Protocol):
    """A source of shells. Every adapter passes `tests/shells/conformance.py`.

    A start may take seconds and may fail. `ensure` is idempotent: however many callers in however many
    processes there are, they cause a single start. For a target that is not an app here, it returns a
    `Denial` (`NO_APP`).
    """

    def list_targets(self) -> tuple[Target, ...]:
        """Return every target that offers a shell now, running or not, sorted by name.

        On a cluster the result changes as apps are created and deleted.
        """
        ...

    def has_target(self, target: Target) -> bool:
        """Return whether the target is one of `list_targets`. This is cheap."""
        ...

    def find_ready(self, grant: Grant) -> Shell | None:
        """Return the shell if `ensure` would return it at once, else None. Starts nothing.

        Most logins are to a running shell, and need no timer for its start.
        """
        ...

    async def ensure(self, grant: Grant, progress: Progress) -> Shell | Denial:
        """Return the shell once its sshd answers, after starting it if necessary.

        A failure is a `Denial` (`SHELL_UNAVAILABLE`) with the step that failed and the reason. The caller
        limits the time by cancelling `ensure`; the start then continues.
        """
        ...

    async def resolve(self, target: Target) -> Shell | None:
        """Return the shell if it listens now, else None. Starts nothing."""
        ...

    async def observe(self, target: Target) -> ShellState:
        """Return the state of the shell now. Starts nothing."""
        ...

    def find_notice(self, target: Target) -> str | None:
        """Return a line that developers in the running shell should know, or None."""
        ...

    def touch(self, target: Target) -> None:
        """Count a new session, which keeps the shell in use. Called in any thread; does not block."""
        ...

    def release(self, target: Target) -> None:
        """Count the end of a session, once for each `touch`. Called in any thread; does not block."""
        ...

    async def stop_watching(self) -> None:
        """Stop watching. Shells in use keep running."""
        ...
