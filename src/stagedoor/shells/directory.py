"""Several sources of shells behind one `Shells`."""

from collections.abc import Sequence

from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.shell import Progress, Shell, ShellState
from stagedoor.model.target import Target
from stagedoor.shells.ports import Shells


class ShellDirectory:
    """A `shells.ports.Shells` that uses the first of `adapters` that has the target.

    If none has it, the last adapter refuses, since its message says best how to add such an app.
    """

    def __init__(self, adapters: Sequence[Shells]) -> None:
        self._adapters = tuple(adapters)

    def targets(self) -> tuple[Target, ...]:
        """Return the targets of all adapters, sorted."""
        targets = {target for adapter in self._adapters for target in adapter.targets()}
        return tuple(sorted(targets, key=str))

    def knows(self, target: Target) -> bool:
        """Return whether an adapter has the target."""
        return any(adapter.knows(target) for adapter in self._adapters)

    async def ensure(self, grant: Grant, progress: Progress) -> Shell | Denial:
        """Return the shell once its sshd answers; see `Shells`."""
        return await self._of(grant.target).ensure(grant, progress)

    async def resolve(self, target: Target) -> Shell | None:
        """Return the running shell, or None."""
        return await self._of(target).resolve(target)

    async def observe(self, target: Target) -> ShellState:
        """Return the state of the shell."""
        return await self._of(target).observe(target)

    def notice(self, target: Target) -> str | None:
        """Return the shell's notice, or None."""
        return self._of(target).notice(target)

    def touch(self, target: Target) -> None:
        """Count a new session in the shell."""
        self._of(target).touch(target)

    def release(self, target: Target) -> None:
        """Count the end of a session in the shell."""
        self._of(target).release(target)

    async def close(self) -> None:
        """Close every adapter."""
        for adapter in self._adapters:
            await adapter.close()

    def _of(self, target: Target) -> Shells:
        for adapter in self._adapters:
            if adapter.knows(target):
                return adapter
        return self._adapters[-1]
