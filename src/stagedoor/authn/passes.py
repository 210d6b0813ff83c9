"""Passes of the web: given to an identity, and good for as long as what proved it is.

Pure: the store holds them, the time is an argument.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy, User
from stagedoor.model.units import HOUR_S
from stagedoor.model.webpass import PassKind, WebPass, password_mark

SIGN_IN_AGAIN = "sign in again"
STALE_S = 4 * HOUR_S
"""For so long a sign-in opens something new although its identity provider does not answer."""
_RENEW_BELOW = 7 / 8


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Seconds that each kind is good for. A session's are counted from its last use, and it ends after
    `session_max_s` at the latest."""

    session_s: float = 12 * 3600.0
    session_max_s: float = 24 * 3600.0
    ticket_s: float = 30.0
    link_s: float = 600.0
    invitation_s: float = 48 * 3600.0

    def of(self, kind: PassKind) -> float:
        return {
            PassKind.SESSION: min(self.session_s, self.session_max_s),
            PassKind.LOGIN: min(self.session_s, self.session_max_s),
            PassKind.TICKET: self.ticket_s,
            PassKind.LINK: self.link_s,
            PassKind.INVITATION: self.invitation_s,
        }[kind]


def pass_for(
    kind: PassKind,
    identity: Identity,
    now: float,
    lifetimes: Lifetimes,
    target: str | None = None,
    source: str | None = None,
    label: str | None = None,
) -> WebPass:
    """A new pass for somebody who has just shown who they are, by a credential or by another pass.

    `source` is the address that a session is opened from, `label` the device.
    """
    return WebPass(
        kind,
        identity.name,
        identity.method,
        now + lifetimes.of(kind),
        identity.credential_id,
        identity.scopes,
        password_mark(identity.password_hash),
        target,
        identity.sign_in,
        now + lifetimes.session_max_s if kind is PassKind.SESSION else None,
        now if kind is PassKind.SESSION else None,
        source,
        label=label,
    )


def renewed_end(shown: WebPass, now: float, lifetimes: Lifetimes) -> float | None:
    """Until when a session that was just used is good from now on; None for as long as it is already.

    Each renewal is a change of the policy that every worker reads, so there is one for each eighth of
    `session_s` at most.
    """
    if shown.latest_end is None or shown.expires_at - now > lifetimes.session_s * _RENEW_BELOW:
        return None
    end = min(now + lifetimes.session_s, shown.latest_end)
    return end if end > shown.expires_at else None


def on_password_of(user: User, scopes: tuple[str, ...] | None = None) -> Identity:
    """Who a link of an administrator's lets in: `user`, for as long as the password stays the same."""
    return Identity(
        user.name, user.groups, Method.PASSWORD, scopes=scopes, password_hash=user.password_hash
    )


def by_passkey(user: User, passkey: str) -> Identity:
    """Who has signed in by a passkey, which stands for the password that they have: for as long as that stays
    the same. Nobody else has one that signs in: an identity provider must be able to keep its people out."""
    return Identity(
        user.name, user.groups, Method.PASSWORD, passkey, password_hash=user.password_hash
    )


def by_provider(user: User, provider: str) -> Identity:
    """Who has signed in at the identity provider of that name."""
    return Identity(user.name, user.groups, Method.SSO, provider)


def identity_of(
    shown: WebPass | None,
    policy: Policy,
    now: float,
    stale_s: Mapping[str, float] = MappingProxyType({}),
) -> Identity | Denial:
    """Who it is that shows a pass, by the policy as it is now. `stale_s` is by identity provider.

    `shown` is None for a secret that belongs to no pass, or to one that was used up: it is refused in
    the same words as one that has expired.
    """
    if shown is None or shown.expires_at <= now:
        return Denial(
            Reason.CREDENTIAL_WRONG,
            f"this sign-in or link is used up, or its time is over; {SIGN_IN_AGAIN}",
        )
    over = policy.why_sign_in_over(shown.name, shown.sign_in, now) if shown.sign_in else None
    if over is not None:
        return Denial(Reason.CREDENTIAL_WRONG, over)
    void = policy.why_void(shown)
    if void is not None:
        return Denial(Reason.CREDENTIAL_WRONG, f"{void}; {SIGN_IN_AGAIN}")
    if shown.method is Method.SSO and (stale := _stale(shown, now, stale_s)) is not None:
        return stale
    user = policy.users[shown.name]
    token = policy.tokens.get(shown.credential_id or "") if shown.method is Method.TOKEN else None
    return Identity(
        shown.name,
        user.groups,
        shown.method,
        shown.credential_id,
        shown.scopes,
        user.password_hash if shown.method is Method.PASSWORD else None,
        shown.sign_in,
        token_ends_at=token.expires_at if token else None,
    )


def _stale(shown: WebPass, now: float, stale_s: Mapping[str, float]) -> Denial | None:
    """Why nothing new is opened: nobody knows whether the person is still one of the provider's."""
    provider = shown.credential_id or ""
    limit_s = stale_s.get(provider, STALE_S)
    if shown.answered_at is None or now - shown.answered_at <= limit_s:
        return None
    return Denial(
        Reason.UPSTREAM_TIMEOUT,
        f"{provider} has not answered for {limit_s / HOUR_S:.3g} h (sso.stale_s), so nothing new is opened "
        "by its sign-ins, and what is open goes on; try again later, or sign in with a password or a token",
        retry_after_s=60,
    )
