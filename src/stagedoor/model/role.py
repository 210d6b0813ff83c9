"""Roles: who administers which apps, over the API and on the pages."""

from dataclasses import dataclass
from enum import StrEnum

from stagedoor.model.selector import TargetPattern


class Role(StrEnum):
    """The roles, each of which includes those before it."""

    AUDITOR = "auditor"
    """Reads."""
    OPERATOR = "operator"
    """May take access away: close sessions, end sign-ins, disable users."""
    OWNER = "owner"
    """May also give others the access that they have themselves."""
    ADMINISTRATOR = "administrator"
    """May do everything, for all apps."""

    def has_rights_of(self, other: "Role") -> bool:
        """Return whether this role may do all that `other` may."""
        roles = list(Role)
        return roles.index(other) <= roles.index(self)


class ApiScope(StrEnum):
    """The uses of a token at the API. A token without one of these cannot be used there at all."""

    READ = "api:read"
    WRITE = "api:write"
    REQUEST = "request"
    """May only ask for access."""


@dataclass(frozen=True, slots=True)
class RoleRule:
    """A rule that gives a role to `subject`, for apps whose names match.

    Subject and patterns are as in `model.grant.GrantRule`. `expires_at` is seconds since the epoch, None for
    a rule without end.
    """

    id: int
    subject: str
    role: Role
    app_pattern: str = "*"
    environment_pattern: str = "*"
    expires_at: float | None = None

    @property
    def pattern(self) -> TargetPattern:
        """Return the apps that the role is for."""
        return TargetPattern(self.app_pattern, self.environment_pattern)
