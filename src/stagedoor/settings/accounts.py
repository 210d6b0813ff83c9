"""The settings of people: what they may change themselves, and the apps that need a fresh proof."""

from typing import Annotated, Literal

from msgspec import Meta

from stagedoor.model.name import FORM, is_valid_name
from stagedoor.model.selector import TargetPattern, parse_target_pattern
from stagedoor.model.units import MINUTE_S
from stagedoor.settings.form import Seconds, Table

SelfService = Literal["password", "tokens", "keys", "passkeys"]


class AccountSettings(Table, frozen=True):
    """The changes that people may make to their accounts on the WebShell's page `/account`."""

    self_service: Annotated[
        tuple[SelfService, ...],
        Meta(
            description="What people may set and add: `password` (the page asks for the current one), "
            "`tokens` (which expire, and are for apps that the person may enter), `keys` (SSH), `passkeys`. "
            "People may always remove their own tokens, keys and passkeys and end their own sign-ins. "
            "Empty: only that."
        ),
    ] = ("password", "keys", "passkeys")
    token_max_days: Annotated[
        float,
        Meta(
            gt=0,
            le=3650,
            description="The longest lifetime, in days, of a token that a person makes. It does not limit "
            "the tokens of `stagedoor token create`.",
        ),
    ] = 90.0
    password_groups: Annotated[
        tuple[str, ...] | None,
        Meta(
            description="With `[[sso]]`: only users in these groups may use a password, by any access "
            "method. The passwords of all other users are refused; their tokens and keys still work. Name "
            "the group of users who must be able to log in while the identity provider does not answer. "
            "Empty: no user may. None: all users may."
        ),
    ] = None

    def __post_init__(self) -> None:
        for group in self.password_groups or ():
            if not is_valid_name(group):
                raise ValueError(
                    f"accounts.password_groups has {group!r}, which is not a group name: {FORM}"
                )

    @property
    def passwords_for(self) -> frozenset[str] | None:
        """Return the groups whose users may use a password, or None for all users."""
        return None if self.password_groups is None else frozenset(self.password_groups)


class StepUpSettings(Table, frozen=True):
    """The apps that require users to confirm their identity again, for all users and grants."""

    targets: Annotated[
        tuple[str, ...],
        Meta(
            description="The apps, by patterns: `shop`, `*.production`. All access methods require the proof "
            "when a user enters; an open session continues without a new one."
        ),
    ] = ()
    fresh_s: Annotated[
        Seconds,
        Meta(
            description="A proof counts for this many seconds, for all sessions that the same sign-in "
            "opens. A registered security key that asked for a PIN or a finger (an `sk-` key, user "
            "verification) counts for its own connection, from the login on."
        ),
    ] = 15 * MINUTE_S

    def __post_init__(self) -> None:
        for entry in self.targets:
            if parse_target_pattern(entry) is None:
                raise ValueError(
                    f"step_up.targets holds {entry!r}; write an app: `shop`, `app*.staging`, `*.production`"
                )

    @property
    def patterns(self) -> tuple[TargetPattern, ...]:
        """Return the parsed `targets`."""
        return tuple(p for p in map(parse_target_pattern, self.targets) if p is not None)
