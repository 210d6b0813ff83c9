"""The rules for entering apps, and grants, each made because a rule matched."""

from dataclasses import dataclass, field

from msgspec import Struct

from stagedoor.model.identity import Identity
from stagedoor.model.permission import DEFAULT, NOTHING, Permissions
from stagedoor.model.selector import TargetPattern
from stagedoor.model.target import Target


@dataclass(frozen=True, slots=True)
class GrantRule:
    """A rule of the policy: what a user or a group may do with apps whose names match.

    `subject` is `user:NAME`, `group:NAME` or `everybody`. Patterns are shell globs over whole names (`*`,
    `?`, `[a-z]`); `environment_pattern` `*` also covers targets without an environment. `expires_at` is
    seconds since the epoch, None for a rule without end. Rules add up: a user has the permissions of all
    rules that match. `request` is the number of the approved access request that takes the place of a rule,
    None for an administrator's rule. `resume_s` limits how long a session waits for its client, in seconds:
    the lowest value of all matching rules counts, and None sets no limit. `access_set` is the access set that
    the rule belongs to (`model.access_set`), if any.
    """

    id: int
    subject: str
    app_pattern: str
    environment_pattern: str = "*"
    expires_at: float | None = None
    permissions: Permissions = DEFAULT
    request: int | None = None
    resume_s: float | None = None
    access_set: str | None = field(default=None, compare=False)

    @property
    def pattern(self) -> TargetPattern:
        """Return the apps that the rule is for."""
        return TargetPattern(self.app_pattern, self.environment_pattern)


class Guest(Struct, frozen=True):
    """A user who is admitted to one terminal of another user, and to nothing else.

    `host` is the user who shares the terminal or works in it. `share` is the id of the guest's share, None if
    a rule permits watching. Unless `may_type` is True, a guest only watches.
    """

    terminal: str
    host: str
    share: str | None
    may_type: bool = False


class SharedTerminal(Struct, frozen=True):
    """A request for one terminal by means of a share."""

    share_id: str


class WatchedTerminal(Struct, frozen=True):
    """A request to watch one terminal, reached as the user `host`, by a rule that permits watching."""

    target: Target
    terminal: str
    host: str


Claim = Target | SharedTerminal | WatchedTerminal
"""The object of a request for access: an app's shell, or one terminal as a guest."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The right of `identity` to enter `target` now. Made by `authz.decide` and `authz.guest` only.

    `rule_id` is the rule that permits it, and `expires_at` the grant's own end in seconds since the epoch. A
    grant with a `guest` gives no right to enter the shell, only access to that guest's terminal.
    `permissions` are those of all matching rules; at `changes_at` the first of these rules ends, so the
    permissions change while the grant continues. `request` is the access request that permits it (then
    `rule_id` is 0) or that adds a permission. `resume_s` is how long a session waits for its client, in
    seconds; None if no rule limits that. `must_be_recorded` is True if only access requests permit entering,
    each with the duty `record`.
    """

    identity: Identity
    target: Target
    rule_id: int
    expires_at: float | None
    guest: Guest | None = None
    permissions: Permissions = NOTHING
    changes_at: float | None = None
    request: int | None = None
    resume_s: float | None = None
    must_be_recorded: bool = False

    def is_current(self, now: float) -> bool:
        """Return True if the same policy would still give the same grant at `now`."""
        return (self.expires_at is None or now < self.expires_at) and (
            self.changes_at is None or now < self.changes_at
        )

    @property
    def shell_user(self) -> str:
        """Return the user name for the shell. Watchers have no login of their own, and use the host's."""
        if self.guest is None or self.guest.may_type:
            return self.identity.name
        return self.guest.host


def find_target(claim: Claim) -> Target | None:
    """Return the target that a claim names, or None."""
    match claim:
        case Target():
            return claim
        case WatchedTerminal(target):
            return target
        case SharedTerminal():
            return None


@dataclass(frozen=True, slots=True)
class Admission:
    """A user who is admitted by at least one rule. Made by `authz.admissions` only.

    `public_keys` are registered keys, each `type base64`. `bound_keys` are the keys of lasting
    sign-ins, each with the end of its sign-in. `revoked` has the numbers
    (`model.identity.SignIn.number`) of sign-ins that are over while a certificate issued to them is
    still valid. `expires_at` is when the rule ends. Times are seconds since the epoch, None for no end.
    `prefix` precedes the name in certificates of the user CA.
    """

    name: str
    public_keys: tuple[str, ...] = ()
    expires_at: float | None = None
    bound_keys: tuple[tuple[str, float], ...] = ()
    revoked: tuple[int, ...] = ()
    prefix: str = ""

    @property
    def principal(self) -> str:
        """Return the principal of the user's certificates."""
        return self.prefix + self.name
