"""Who may enter what: the rule that an administrator wrote, and the proof that it was met."""

from dataclasses import dataclass

from stagedoor.model.identity import Identity
from stagedoor.model.permission import DEFAULT, NOTHING, Permissions
from stagedoor.model.target import Target


@dataclass(frozen=True, slots=True)
class GrantRule:
    """One line of the policy: what a user or a group may do with apps whose names match.

    `subject` is `user:NAME`, `group:NAME` or `everybody`. Patterns are shell globs over whole names (`*`,
    `?`, `[a-z]`); `environment_pattern` `*` also covers targets that name none. `expires_at` is
    seconds since the epoch, None for a rule without end. Rules add up: a user has the permissions of
    all that match.
    """

    id: int
    subject: str
    app_pattern: str
    environment_pattern: str = "*"
    expires_at: float | None = None
    permissions: Permissions = DEFAULT


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody who is let to one terminal of somebody else's, and to nothing else in its shell.

    `host` is who shares it, or works there. `share` is the guest's share, None where a rule
    lets them watch. Unless they `may_type`, they only watch.
    """

    terminal: str
    host: str
    share: str | None
    may_type: bool = False


@dataclass(frozen=True, slots=True)
class SharedTerminal:
    """The claim to one terminal by a share."""

    share_id: str


@dataclass(frozen=True, slots=True)
class WatchedTerminal:
    """The claim to watch one terminal, which is reached as `host`, by a rule of watching."""

    target: Target
    terminal: str
    host: str


Claim = Target | SharedTerminal | WatchedTerminal
"""What somebody asks to be let into: an app's shell, or one terminal as a guest."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The proof that `identity` may enter `target` now. Made by `authz.decide` and `authz.guest` only.

    `rule_id` says by which rule; `expires_at` is when it ends by itself, seconds since the epoch.
    With a `guest` it is no right to enter: it is one to be at that terminal, in that way. `permissions`
    are of all rules that match, until `changes_at`: then the first of them ends, and this one does not.
    """

    identity: Identity
    target: Target
    rule_id: int
    expires_at: float | None
    guest: Guest | None = None
    permissions: Permissions = NOTHING
    changes_at: float | None = None

    def holds(self, now: float) -> bool:
        """Whether it says the same at `now` by the same policy."""
        return all(at is None or now < at for at in (self.expires_at, self.changes_at))

    @property
    def login(self) -> str:
        """The user in whose name the shell is entered: a watcher has none of their own there."""
        if self.guest is None or self.guest.may_type:
            return self.identity.name
        return self.guest.host


def target_of(claim: Claim) -> Target | None:
    """The shell that somebody asks for, if they name one."""
    match claim:
        case Target():
            return claim
        case WatchedTerminal(target):
            return target
        case SharedTerminal():
            return None
