"""Who may enter what: the rule that an administrator wrote, and the proof that it was met."""

from dataclasses import dataclass

from stagedoor.model.identity import Identity
from stagedoor.model.target import Target


@dataclass(frozen=True, slots=True)
class GrantRule:
    """One line of the policy: a user or a group may enter apps whose names match.

    `subject` is `user:NAME` or `group:NAME`. Patterns are shell globs over whole names (`*`, `?`,
    `[a-z]`); `environment_pattern` `*` also covers targets that name none. `expires_at` is
    seconds since the epoch, None for a rule without end.
    """

    id: int
    subject: str
    app_pattern: str
    environment_pattern: str = "*"
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody who is let to one terminal of somebody else's, and to nothing else in its shell.

    `host` is who shares it, or works there. `share` is the share that he comes by, None where a rule
    lets him watch. Unless he `may_type`, he only looks.
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
    With a `guest` it is no right to enter: it is one to be at that terminal, in that way.
    """

    identity: Identity
    target: Target
    rule_id: int
    expires_at: float | None
    guest: Guest | None = None

    @property
    def login(self) -> str:
        """The user in whose name the shell is entered: who only looks has none of his own there."""
        if self.guest is None or self.guest.may_type:
            return self.identity.name
        return self.guest.host
