"""The settings of people's own accounts: what they may change without an administrator."""

from typing import Annotated, Literal

from msgspec import Meta

from stagedoor.settings.form import Table

SelfService = Literal["password", "tokens", "keys"]


class Accounts(Table, frozen=True):
    """What people may do by themselves on the WebShell's page `/account`."""

    self_service: Annotated[
        tuple[SelfService, ...],
        Meta(
            description="What people may set and add: `password` (the present one is asked for), `tokens` "
            "(of an end, and for apps that they may enter), `keys` (SSH). Removing their own tokens and keys "
            "and ending their own sign-ins is always allowed. Empty: nothing but that."
        ),
    ] = ("password", "keys")
    token_max_days: Annotated[
        float,
        Meta(
            gt=0,
            le=3650,
            description="The longest life, in days, of a token that a person makes. Tokens of "
            "`stagedoor token create` have the end that they are given.",
        ),
    ] = 90.0
