"""The rules for requesting access and for deciding on requests, by the current policy. Pure.

Users cannot decide on their own requests, neither by the account that asked nor by another account of the
same person at an identity provider. Programs cannot decide at all.
"""

from collections.abc import Sequence
from math import inf

from stagedoor.authz.step_up import StepUpRules, has_fresh_proof
from stagedoor.model.access_request import AccessRequest, RequestRule, explain_own, find_rule
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method
from stagedoor.model.permission import ENTERING, Permissions
from stagedoor.model.policy import Policy
from stagedoor.model.role import ApiScope
from stagedoor.model.target import Target

UNKNOWN = "there is no such request, or you may not see it"
NOT_YOURS = Denial(Reason.NO_GRANT, UNKNOWN)
"""The refusal of a request that does not exist, the same as for one that the user may not see."""


def find_rule_to_ask(
    policy: Policy,
    identity: Identity,
    targets: Sequence[Target],
    now: float,
    needs: Permissions = ENTERING,
    *,
    break_glass: bool = False,
    starts_at: float | None = None,
) -> RequestRule | None:
    """Return the rule by which `identity` may ask for all of `targets`, or None.

    Access that begins later needs a rule whose hours include `starts_at`. The answer depends on the rules
    alone, so it does not reveal which apps exist. Programs may not ask: neither jobs nor tokens with scopes,
    unless one of these is `request`.
    """
    if identity.method is Method.MACHINE:
        return None
    if identity.scopes is not None and ApiScope.REQUEST not in identity.scopes:
        return None
    if isinstance(policy.check_credential(identity, now), Denial):
        return None
    rules, subjects = policy.request_rules.values(), policy.find_subjects(identity.name)
    at = max(now, starts_at or now)
    return find_rule(rules, subjects, targets, needs, now=at, break_glass=break_glass)


def is_approver(policy: Policy, rule: RequestRule, name: str, waited_s: float = inf) -> bool:
    """Return whether the user `name` decides by `rule` on a request that has waited `waited_s`.

    Disabled users do not.
    """
    return rule.may_decide(policy.find_subjects(name), waited_s)


def may_see(policy: Policy, name: str, request: AccessRequest) -> bool:
    """Return whether the user `name` may read a request, as its requester or an approver."""
    rule = policy.request_rules.get(request.rule)
    return request.user == name or (rule is not None and is_approver(policy, rule, name))


def check_decider(
    policy: Policy,
    identity: Identity,
    request: AccessRequest,
    step_up: StepUpRules,
    now: float,
) -> Denial | None:
    """Return why `identity` may not decide on `request` now, or None.

    This does not know the requester's other accounts; `admin.requests.access_requests.decide` compares those.
    """
    if isinstance(until := policy.check_credential(identity, now), Denial):
        return until
    if not may_see(policy, identity.name, request):
        return NOT_YOURS
    if request.user == identity.name:
        return Denial(Reason.NO_GRANT, explain_own(request))
    if not _is_signed_in_person(identity):
        return Denial(
            Reason.NO_GRANT,
            "only a person who has signed in decides: sign in on the WebShell's page or with stagedoor login",
        )
    if policy.request_rules[request.rule].needs_step_up:  # an approver is one by this rule
        return check_fresh(policy, identity, f"deciding on request {request.id}", step_up, now)
    return None


def check_fresh(
    policy: Policy, identity: Identity, what: str, step_up: StepUpRules, now: float
) -> Denial | None:
    """Return a denial of `what`, unless the person has given a fresh proof of identity."""
    if has_fresh_proof(policy, identity, now - step_up.fresh_s):
        return None
    where = step_up.url or "the WebShell's page /step-up"
    return Denial(
        Reason.STEP_UP_NEEDED,
        f"{what} requires that you confirm your identity first; open {where}, then try again",
    )


def _is_signed_in_person(identity: Identity) -> bool:
    """Return whether a person signed in. Tokens, plain keys and jobs' tokens may be used by programs."""
    return identity.is_person or (identity.scopes is None and identity.user_verified_at is not None)
