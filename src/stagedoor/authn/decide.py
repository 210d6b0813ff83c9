"""The judgement of passwords and tokens by the policy. Pure.

Tokens are judged at once. Verifying a password takes time, so the result may be `CheckPassword`. Then the
caller verifies the hash, and calls `confirm_password` or `make_password_denial`.
"""

import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime

from stagedoor.authn.tokens import parse_token_id
from stagedoor.model.credential import PasswordCredential, TokenCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy
from stagedoor.model.secret import hash_secret

_NO_HASH = bytes(32)
_SHOWN_NAME_LIMIT = 64
_ASK_FOR_ANOTHER = "make a new one on your account page, or ask an administrator"


@dataclass(frozen=True, slots=True)
class CheckPassword:
    """A password that has yet to be verified against `password_hash`.

    `password_hash` is None if the name is unknown or has no password. Even then the caller must spend the
    time of a verification, and then call `make_password_denial`.
    """

    name: str
    password: str = field(repr=False)
    password_hash: str | None = field(repr=False)


MISSING = Denial.with_fix(
    Reason.CREDENTIAL_MISSING,
    "say who you are: a user name with a password or token, or a bearer token",
    "an administrator makes one with: stagedoor token create NAME",
    "ask an administrator if you have none",
)


def judge_credential(
    policy: Policy, credential: PasswordCredential | TokenCredential | None, now: float
) -> Identity | CheckPassword | Denial:
    """Judge `credential` by `policy`; `now` is seconds since the epoch.

    A secret that has the form of a token is judged only as a token. If it was sent as a password (RFC 7617),
    it must belong to the user name that came with it.
    """
    if credential is None:
        return MISSING
    shown_id = parse_token_id(credential.secret)
    if isinstance(credential, PasswordCredential):
        if shown_id is None:
            user = policy.users.get(credential.name)
            return CheckPassword(
                credential.name, credential.secret, user.password_hash if user else None
            )
        claimed: str | None = credential.name
        wrong = make_password_denial(credential.name, policy)
    else:
        claimed = None
        wrong = Denial.with_fix(
            Reason.CREDENTIAL_WRONG,
            "wrong token",
            "it may have been removed; an administrator makes a new one with: "
            "stagedoor token create NAME",
            f"it may have been removed; {_ASK_FOR_ANOTHER}",
        )
    return _by_token(policy, credential.secret, shown_id, claimed, wrong, now)


def _by_token(
    policy: Policy, text: str, shown_id: str | None, claimed: str | None, wrong: Denial, now: float
) -> Identity | Denial:
    record = policy.tokens.get(shown_id) if shown_id else None
    # Compare for an unknown id as well, so that timing reveals nothing.
    is_right = hmac.compare_digest(hash_secret(text), record.secret_hash if record else _NO_HASH)
    user = policy.users.get(record.user) if record else None
    if not is_right or record is None or claimed not in (None, record.user):
        return wrong
    if user is None:
        return policy.make_absence_denial(Reason.CREDENTIAL_WRONG, record.user)
    if record.expires_at is not None and record.expires_at <= now:
        # The client has sent the whole token, so this reveals nothing to it.
        return Denial.with_fix(
            Reason.CREDENTIAL_WRONG,
            f"token {record.id} of {user.name!r} expired at {_instant(record.expires_at)}",
            f"an administrator makes a new one with: stagedoor token create {user.name}",
            _ASK_FOR_ANOTHER,
        )
    return Identity(
        user.name,
        user.groups,
        Method.TOKEN,
        record.id,
        record.scopes,
        token_ends_at=record.expires_at,
    )


def confirm_password(policy: Policy, checked: CheckPassword) -> Identity | Denial:
    """Return the identity of a verified password, if the user still exists with the same password."""
    user = policy.users.get(checked.name)
    if user is None or user.password_hash is None or user.password_hash != checked.password_hash:
        return make_password_denial(checked.name, policy)
    return Identity(user.name, user.groups, Method.PASSWORD, password_hash=checked.password_hash)


def make_password_denial(name: str, policy: Policy) -> Denial:
    """Return the denial for every password that is not accepted.

    It is the same for a wrong password, an unknown name, a user without a password, and a user
    whose groups may not have one.
    """
    fix = "an administrator sets a new password with: stagedoor user password NAME"
    advice = "try again, or ask an administrator for a new password"
    if policy.password_groups is not None:
        others = "all others sign in with their identity provider, or show a token or key"
        fix = f"only the groups in accounts.password_groups have passwords; {others}"
        advice = f"only some groups have passwords; {others}"
    return Denial.with_fix(
        Reason.CREDENTIAL_WRONG,
        f"wrong user name, password or token for {_quote_name(name)}",
        fix,
        advice,
    )


def _quote_name(name: str) -> str:
    """Return a client's text for a name in a form that is safe in one line of a terminal."""
    if name.isascii() and name.isprintable() and 0 < len(name) <= _SHOWN_NAME_LIMIT:
        return repr(name)
    return "the name given"


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
