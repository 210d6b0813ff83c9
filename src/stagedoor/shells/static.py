"""Existing SSH servers as shells, such as machines and containers."""

from collections.abc import Iterable

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.shell import Progress, Shell, ShellState
from stagedoor.model.target import Target


class StaticShells:
    """A `shells.ports.Shells` of existing servers. It starts nothing: every server counts as started.

    Their state is `UNKNOWN`, since only `upstream.connect` dials, after the filter of addresses.
    """

    def __init__(self, shells: Iterable[Shell]) -> None:
        self._shells = {shell.target: shell for shell in shells}

    def list_targets(self) -> tuple[Target, ...]:
        """Return the targets in the settings, sorted."""
        return tuple(sorted(self._shells, key=str))

    def has_target(self, target: Target) -> bool:
        """Return whether the target is in the settings."""
        return target in self._shells

    def find_ready(self, grant: Grant) -> Shell | None:
        """Return the server in the settings, or None."""
        return self._shells.get(grant.target)

    async def ensure(self, grant: Grant, progress: Progress) -> Shell | Denial:
        """Return the server in the settings."""
        return self._shells.get(grant.target) or make_unknown_app_denial(grant.target)

    async def resolve(self, target: Target) -> Shell | None:
        """Return the server in the settings, or None."""
        return self._shells.get(target)

    async def observe(self, target: Target) -> ShellState:
        """Return UNKNOWN for a server in the settings."""
        return ShellState.UNKNOWN if target in self._shells else ShellState.ABSENT

    def find_notice(self, target: Target) -> str | None:
        """Return None."""
        return None

    def touch(self, target: Target) -> None:
        """Do nothing, since the server runs without sessions."""

    def release(self, target: Target) -> None:
        """Do nothing, since the server runs without sessions."""

    async def stop_watching(self) -> None:
        """Do nothing, since no server is watched."""


def make_unknown_app_denial(target: Target, fix: str | None = None) -> Denial:
    """Return the denial for a target that an adapter does not have; `fix` is for the administrator."""
    if fix is None:
        fix = "an administrator adds it with [[shells.static]] or [[shells.local]] in the settings"
    place = f"{target.app} in {target.environment}" if target.environment else target.app
    return Denial.with_fix(
        Reason.NO_APP,
        f"there is no app {place} here",
        fix,
        "look for its name among your apps, or ask an administrator",
    )
