"""Web passes. Each is issued to an identity, and stays valid only as long as the credential behind it.

Pure: the store keeps the passes, and the time is an argument.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy, User
from stagedoor.model.units import HOUR_S, MINUTE_S
from stagedoor.model.webpass import (
    Invitation,
    SignInLink,
    SignInPass,
    Ticket,
    TicketPurpose,
    WebPass,
    WebSession,
    hash_password_mark,
)

SIGN_IN_AGAIN = "sign in again"
STALE_S = 4 * HOUR_S
"""How long a sign-in may open new sessions while its identity provider does not answer."""
_RENEW_BELOW = 7 / 8
USE_S = 15 * MINUTE_S
"""The shortest time between two stored uses of a session, since each is a write. Users see the last use."""


class Lifetimes(Struct, frozen=True):
    """The lifetimes of passes, in seconds.

    A session's lifetime counts from its last use; a session ends after `session_max_s` at the latest.
    """

    session_s: float = 12 * 3600.0
    session_max_s: float = 24 * 3600.0
    ticket_s: float = 30.0
    link_s: float = 600.0


def create_session(
    id_: bytes,
    identity: Identity,
    now: float,
    lifetimes: Lifetimes,
    source: str | None = None,
    label: str | None = None,
) -> WebSession:
    """Return the session of a browser that signs in as `identity`.

    Here and in the functions below, `id_` is `hash_secret` of the secret. `source` is the browser's address,
    and `label` its name.
    """
    latest_end = now + lifetimes.session_max_s
    return WebSession(
        **_issued_to(identity, id_),
        expires_at=min(now + lifetimes.session_s, latest_end),
        latest_end=latest_end,
        opened_at=now,
        source=source,
        label=label,
    )


def create_ticket(
    id_: bytes, identity: Identity, purpose: TicketPurpose, now: float, lifetimes: Lifetimes
) -> Ticket:
    """Return a ticket with which `identity` may open the terminal in `purpose`."""
    return Ticket(
        **_issued_to(identity, id_),
        expires_at=now + lifetimes.ticket_s,
        purpose=purpose,
        opened_by=identity.sign_in,
    )


def create_link(id_: bytes, identity: Identity, now: float, lifetimes: Lifetimes) -> SignInLink:
    """Return a link that signs in as `identity`."""
    return SignInLink(**_issued_to(identity, id_), expires_at=now + lifetimes.link_s)


def create_invitation(id_: bytes, identity: Identity, expires_at: float) -> Invitation:
    """Return an invitation that sets the password of `identity`, until `expires_at`."""
    return Invitation(**_issued_to(identity, id_), expires_at=expires_at)


def _issued_to(identity: Identity, id_: bytes) -> dict[str, Any]:
    return {
        "id": id_,
        "name": identity.name,
        "method": identity.method,
        "credential_id": identity.credential_id,
        "scopes": identity.scopes,
        "password_mark": hash_password_mark(identity.password_hash),
    }


def renew_end(sign_in: SignInPass, now: float, lifetimes: Lifetimes) -> float | None:
    """Return the new end of a sign-in that was just used, or None to leave it as it is.

    Each renewal is a change of the policy that every worker reads, so a sign-in is renewed at most
    once in an eighth of `session_s`.
    """
    if sign_in.expires_at - now > lifetimes.session_s * _RENEW_BELOW:
        return None
    end = min(now + lifetimes.session_s, sign_in.latest_end)
    return end if end > sign_in.expires_at else None


def is_use_stale(sign_in: SignInPass, now: float) -> bool:
    """Return whether the last stored use of a sign-in is old enough that this use must be stored."""
    return sign_in.last_used_at is None or now - sign_in.last_used_at >= USE_S


def make_link_identity(user: User, scopes: tuple[str, ...] | None = None) -> Identity:
    """Return the identity of an administrator's link for `user`. It ends when the password changes."""
    return Identity(
        user.name, user.groups, Method.PASSWORD, scopes=scopes, password_hash=user.password_hash
    )


def by_passkey(user: User, passkey: str) -> Identity:
    """Return the identity of a sign-in by passkey, which counts as the user's password.

    It ends when the password changes. Only users with a password can sign in by a passkey; otherwise people
    could still sign in after their identity provider has removed them.
    """
    return Identity(
        user.name, user.groups, Method.PASSWORD, passkey, password_hash=user.password_hash
    )


def by_provider(user: User, provider: str) -> Identity:
    """Return the identity of a sign-in at the identity provider of that name."""
    return Identity(user.name, user.groups, Method.SSO, provider)


def judge_pass(
    web_pass: WebPass | None,
    policy: Policy,
    now: float,
    stale_s: Mapping[str, float] = MappingProxyType({}),
) -> Identity | Denial:
    """Return the identity of the user with `web_pass`, by the current policy, or a denial.

    `web_pass` is None for a secret of no pass or of a used one, which is refused like an expired pass.
    `stale_s` maps identity providers to seconds; the default is `STALE_S`.
    """
    if web_pass is None or web_pass.expires_at <= now:
        return Denial(
            Reason.CREDENTIAL_WRONG,
            f"this sign-in or link is used up, or its time is over; {SIGN_IN_AGAIN}",
        )
    over = (
        policy.explain_sign_in_end(web_pass.name, web_pass.sign_in, now)
        if web_pass.sign_in
        else None
    )
    if over is not None:
        return Denial(Reason.CREDENTIAL_WRONG, over)
    void = policy.explain_void(web_pass)
    if void is not None:
        return Denial(Reason.CREDENTIAL_WRONG, f"{void}; {SIGN_IN_AGAIN}")
    if (
        web_pass.method is Method.SSO
        and (stale := _check_freshness(web_pass, now, stale_s)) is not None
    ):
        return stale
    user = policy.users[web_pass.name]
    token = (
        policy.tokens.get(web_pass.credential_id or "") if web_pass.method is Method.TOKEN else None
    )
    return Identity(
        web_pass.name,
        user.groups,
        web_pass.method,
        web_pass.credential_id,
        web_pass.scopes,
        user.password_hash if web_pass.method is Method.PASSWORD else None,
        web_pass.sign_in,
        token_ends_at=token.expires_at if token else None,
        user_created_at=user.created_at,
    )


def _check_freshness(web_pass: WebPass, now: float, stale_s: Mapping[str, float]) -> Denial | None:
    """Return a denial if the provider has not answered for too long, since it may have removed the user."""
    provider = web_pass.credential_id or ""
    limit_s = stale_s.get(provider, STALE_S)
    if web_pass.answered_at is None or now - web_pass.answered_at <= limit_s:
        return None
    return Denial.with_fix(
        Reason.UPSTREAM_TIMEOUT,
        f"{provider} has not answered for {limit_s / HOUR_S:.3g} h, so nothing new is opened by its "
        "sign-ins, and what is open continues",
        "sso.stale_s",
        "try again later, or sign in with a password or a token",
        retry_after_s=60,
    )
