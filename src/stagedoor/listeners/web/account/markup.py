"""The pages of a user's account, rendered from `listeners/web/templates`."""

from collections.abc import Sequence
from dataclasses import dataclass

from stagedoor.listeners.web.pages.markup import PagePath
from stagedoor.model.identity import TOKEN_SOON_S, Identity, Method
from stagedoor.model.passkey import PasskeyRecord
from stagedoor.signin.credentials import AccountState, NewToken
from stagedoor.signin.key_proof import command_to_sign, line_to_sign

_METHODS = {
    Method.PASSWORD.value: "password",
    Method.TOKEN.value: "token",
    Method.PUBLIC_KEY.value: "SSH key",
    Method.CERTIFICATE.value: "certificate",
    Method.MACHINE.value: "token of a machine",
}
_DAYS = 30.0


@dataclass(frozen=True, slots=True)
class FormOutcome:
    """The outcome of a form, shown in the section of the page that the form is in."""

    section: str
    text: str = ""
    wrong: bool = False
    token: NewToken | None = None


def account(
    place: PagePath,
    host: str,
    identity: Identity,
    held: AccountState,
    passkeys: Sequence[PasskeyRecord],
    said: FormOutcome | None = None,
    *,
    proved: bool = False,
) -> str:
    """Render the account's page: the user's credentials and sign-ins.

    `host` is the Host of the request; `proved`: the user has just given a proof of presence.
    """
    return place.page(
        "account.html",
        identity=identity,
        held=held,
        passkeys=passkeys,
        proved=proved,
        said=said,
        key_command=command_to_sign(line_to_sign(identity, host)),
        days=f"{min(_DAYS, held.token_max_days):g}",
        days_most=f"{held.token_max_days:g}",
        soon_s=TOKEN_SOON_S,
        by=_by,
        scopes=_apps,
    )


def invitation(place: PagePath, why: str = "") -> str:
    """Render an invitation's page: its script fills in the secret behind the `#`, which no server sees."""
    return place.page("invitation.html", why=why)


def _by(method: str, credential: str | None) -> str:
    if method == Method.SSO.value:
        return credential or "an identity provider"
    if method == Method.PASSWORD.value and credential is not None:
        return "passkey"
    return _METHODS.get(method, method) + (f" {credential}" if credential else "")


def _apps(scopes: tuple[str, ...] | None) -> str:
    if scopes is None:
        return "all that you may enter"
    return " ".join(scope.removeprefix("connect:") for scope in scopes)
