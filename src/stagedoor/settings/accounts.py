"""The settings of people's own accounts: the changes that need no administrator."""

from typing import Annotated, Literal

from msgspec import Meta

from stagedoor.model.name import FORM, valid_name
from stagedoor.settings.form import Table

SelfService = Literal["password", "tokens", "keys", "passkeys"]


class Accounts(Table, frozen=True):
    """The changes that people may make to their accounts on the WebShell's page `/account`."""

    self_service: Annotated[
        tuple[SelfService, ...],
        Meta(
            description="What people may set and add: `password` (the page asks for the current one), "
            "`tokens` (which expire, and are for apps that the person may enter), `keys` (SSH), `passkeys`. "
            "People may always remove their own tokens, keys and passkeys and end their own sign-ins. "
            "Empty: nothing but that."
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
            if not valid_name(group):
                raise ValueError(
                    f"accounts.password_groups has {group!r}, which is no group's name: {FORM}"
                )

    @property
    def passwords_for(self) -> frozenset[str] | None:
        """Return the groups whose users may use a password, or None for all users."""
        return None if self.password_groups is None else frozenset(self.password_groups)
