"""Permissions by the lists in the settings, from before grants could say them. For one version more. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from stagedoor.model.permission import Permission, Permissions
from stagedoor.model.selector import Selector
from stagedoor.model.target import Target


@dataclass(frozen=True, slots=True)
class PermissionSettings:
    """`given` adds to what grants permit, and lets nobody in. `movers` are the only ones who keep what
    grants permit of `files`; None: the setting does not limit it.
    """

    given: tuple[tuple[Selector, Permission], ...] = ()
    movers: tuple[Selector, ...] | None = None

    def apply(
        self,
        granted: Permissions,
        name: str,
        groups: Iterable[str],
        target: Target | None,
        rule_id: int | None = None,
    ) -> Permissions:
        """What is left and added for a user whose grants permit `granted`."""
        groups = tuple(groups)
        found = granted | {
            permission
            for selector, permission in self.given
            if selector.covers(name, groups, target, rule_id)
        }
        if self.movers is not None and not any(
            selector.covers(name, groups, target, rule_id) for selector in self.movers
        ):
            found -= {Permission.FILES}
        return found

    def names(self, permission: Permission, name: str, groups: Iterable[str]) -> bool:
        """Whether the user might have this permission by a list, somewhere."""
        groups = tuple(groups)
        return any(
            one is permission and Selector(selector.subject).covers(name, groups, None)
            for selector, one in self.given
        )


UNLISTED = PermissionSettings()
