"""Several kinds of shells as one."""

from collections.abc import Sequence

from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.shell import Progress, Shell, ShellState
from stagedoor.model.target import Target
from stagedoor.shells.ports import Shells


class ShellDirectory:
    """Satisfies `shells.ports.Shells` by the first of `adapters` that has the target.

    What none of them has is for the last to refuse: it knows best what would have to be done.
    """

    def __init__(self, adapters: Sequence[Shells]) -> None:
        self._adapters = tuple(adapters)

    def targets(self) -> tuple[Target, ...]:
        found = {target for adapter in self._adapters for target in adapter.targets()}
        return tuple(sorted(found, key=str))

    def knows(self, target: Target) -> bool:
        return any(adapter.knows(target) for adapter in self._adapters)

    async def ensure(self, grant: Grant, progress: Progress) -> Shell | Denial:
        return await self._of(grant.target).ensure(grant, progress)

    async def resolve(self, target: Target) -> Shell | None:
        return await self._of(target).resolve(target)

    async def observe(self, target: Target) -> ShellState:
        return await self._of(target).observe(target)

    def notice(self, target: Target) -> str | None:
        return self._of(target).notice(target)

    def touch(self, target: Target) -> None:
        self._of(target).touch(target)

    def release(self, target: Target) -> None:
        self._of(target).release(target)

    async def close(self) -> None:
        for adapter in self._adapters:
            await adapter.close()

    def _of(self, target: Target) -> Shells:
        return next((one for one in self._adapters if one.knows(target)), self._adapters[-1])
