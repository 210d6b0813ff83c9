"""SSH servers that are there already: machines, containers, what people have."""

from collections.abc import Iterable
from dataclasses import dataclass

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.shell import Progress, Shell, ShellState
from stagedoor.model.source import Network
from stagedoor.model.target import SSH_PORT, Target


@dataclass(frozen=True, slots=True)
class StaticShell:
    """One `[[shells.static]]` entry.

    `networks` are those in which `host` may lie though they are forbidden by default.
    """

    app: str
    host: str
    port: int = SSH_PORT
    environment: str | None = None
    networks: tuple[Network, ...] = ()

    @property
    def target(self) -> Target:
        return Target(self.app, self.environment)


class StaticShells:
    """Satisfies `shells.ports.Shells`. Starts nothing, so every server counts as started.

    Whether it answers is `UNKNOWN` here: only `session.connect` dials, past the filter of addresses.
    """

    def __init__(self, shells: Iterable[StaticShell]) -> None:
        self._shells = {
            entry.target: Shell(entry.target, entry.host, entry.port, False, entry.networks)
            for entry in shells
        }

    def targets(self) -> tuple[Target, ...]:
        return tuple(sorted(self._shells, key=str))

    def knows(self, target: Target) -> bool:
        return target in self._shells

    async def ensure(self, grant: Grant, progress: Progress) -> Shell | Denial:
        shell = self._shells.get(grant.target)
        return shell if shell else no_app(grant.target)

    async def resolve(self, target: Target) -> Shell | None:
        return self._shells.get(target)

    async def observe(self, target: Target) -> ShellState:
        return ShellState.UNKNOWN if target in self._shells else ShellState.ABSENT

    def notice(self, target: Target) -> str | None:
        return None

    def touch(self, target: Target) -> None:
        """Nothing to keep alive."""

    def release(self, target: Target) -> None:
        """Nothing to let go."""

    async def close(self) -> None:
        """Nothing to watch."""


def no_app(target: Target) -> Denial:
    """What every adapter says of a target that it does not have."""
    place = f"{target.app} in {target.environment}" if target.environment else target.app
    return Denial.with_mend(
        Reason.NO_APP,
        f"there is no app {place} here",
        "an administrator adds it with [[shells.static]] or [[shells.local]] in the settings",
        "look for its name among your apps, or ask an administrator",
    )
