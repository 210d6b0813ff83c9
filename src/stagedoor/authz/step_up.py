"""The rules of step-up: which targets require a fresh proof of identity, and which proofs count. Pure.

The proof belongs to a sign-in, and one proof suffices for everything that the sign-in opens within `fresh_s`.
It is required at entry; an open session continues when the proof is too old.
"""

from dataclasses import dataclass

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy
from stagedoor.model.selector import TargetPattern
from stagedoor.model.target import Target
from stagedoor.model.units import MINUTE_S

_CREDENTIALS = {
    Method.PASSWORD: "a password that is sent with each connection",
    Method.TOKEN: "a token",
    Method.PUBLIC_KEY: "this key",
    Method.CERTIFICATE: "a certificate from an administrator",
}


@dataclass(frozen=True, slots=True)
class StepUpRules:
    """The targets that require a fresh proof of every user, as patterns of apps.

    A proof counts for `fresh_s` seconds. `url` is the page on which to give it; None if the WebShell's
    address is unknown.
    """

    targets: tuple[TargetPattern, ...] = ()
    fresh_s: float = 15 * MINUTE_S
    url: str | None = None


NO_STEP_UP = StepUpRules()


def check_proof(
    rules: StepUpRules, policy: Policy, identity: Identity, target: Target, now: float
) -> Denial | None:
    """Return why `identity` may not enter `target` before a fresh proof, or None if they may."""
    if not any(pattern.covers(target) for pattern in rules.targets):
        return None
    if has_fresh_proof(policy, identity, now - rules.fresh_s):
        return None
    wants = f"{target.login_name} requires that you confirm your identity first"
    fix = "step_up.targets"
    if identity.sign_in is None:
        shown = _CREDENTIALS.get(identity.method, "this credential")
        return Denial.with_fix(
            Reason.STEP_UP_NEEDED,
            f"{wants}, which {shown} cannot do",
            fix,
            "sign in on the WebShell's page or with stagedoor login, or use a security key that asks for a "
            "PIN or finger (ssh-keygen -t ed25519-sk -O verify-required)",
        )
    where = rules.url or "the WebShell's page /step-up"
    return Denial.with_fix(Reason.STEP_UP_NEEDED, wants, fix, f"open {where}, then try again")


def has_typed_password(policy: Policy, identity: Identity, since: float) -> bool:
    """Return whether the user of `identity` typed their password after `since`, for this sign-in.

    That suffices for changes on administrators' pages, but never for entering an app.
    """
    if identity.sign_in is None:
        return False
    typed_at = policy.password_proofs.get(identity.sign_in.id)
    return typed_at is not None and typed_at > since


def has_fresh_proof(policy: Policy, identity: Identity, since: float) -> bool:
    """Return whether the user proved their presence after `since`, seconds since the epoch.

    The proof is that of the sign-in, or of the security key that opened the connection.
    """
    proofs = [identity.user_verified_at]
    if identity.sign_in is not None:
        proofs.append(policy.stepped_up.get(identity.sign_in.id))
    return any(proved_at is not None and proved_at > since for proved_at in proofs)
