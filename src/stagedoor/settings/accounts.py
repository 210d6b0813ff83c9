"""The settings of people's own accounts: what they may change without an administrator."""

from typing import Annotated, Literal

from msgspec import Meta

from stagedoor.model.name import FORM, valid_name
from stagedoor.settings.form import Table

SelfService = Literal["password", "tokens", "keys", "passkeys"]


class Accounts(Table, frozen=True):
    """What people may do by themselves on the WebShell's page `/account`."""

    self_service: Annotated[
        tuple[SelfService, ...],
        Meta(
            description="What people may set and add: `password` (the present one is asked for), `tokens` "
            "(of an end, and for apps that they may enter), `keys` (SSH), `passkeys`. Removing their own "
            "tokens, keys and passkeys and ending their own sign-ins is always allowed. Empty: nothing but "
            "that."
        ),
    ] = ("password", "keys", "passkeys")
    token_max_days: Annotated[
        float,
        Meta(
            gt=0,
            le=3650,
            description="The longest life, in days, of a token that a person makes. Tokens of "
            "`stagedoor token create` have the end that they are given.",
        ),
    ] = 90.0
    password_groups: Annotated[
        tuple[str, ...] | None,
        Meta(
            description="With `[[sso]]`: only users in these groups have passwords, by every access method. "
            "The passwords of all others are refused; their tokens and keys still work. Name the group of "
            "those who must log in when the identity provider does not answer. Empty: nobody. None: "
            "everybody who has a password."
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
        return None if self.password_groups is None else frozenset(self.password_groups)
