"""The rule of entry asked the other way round: given a target, who may enter it now?"""

from stagedoor.authz.decide import authorise
from stagedoor.model.admission import Admission
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy
from stagedoor.model.target import Target


def admitted(
    policy: Policy, target: Target, now: float, *, bound: bool = False
) -> tuple[Admission, ...]:
    """Everybody whom `authorise` would let in with a key or certificate of their own, by name.

    `bound`: with the keys of sign-ins, for a shell that hears of each sign-in within a second.
    """
    of_sign_ins = _bound_keys(policy, now) if bound else {}
    keys: dict[str, list[str]] = {}
    for key in policy.keys.values():
        keys.setdefault(key.user, []).append(key.public_key)
    found = []
    for name, user in sorted(policy.users.items()):
        identity = Identity(name, user.groups, Method.CERTIFICATE)
        verdict = authorise(policy, identity, target, now)
        if isinstance(verdict, Grant):
            registered, theirs = keys.get(name, ()), of_sign_ins.get(name, ())
            found.append(
                Admission(
                    name, tuple(sorted(registered)), verdict.expires_at, tuple(sorted(theirs))
                )
            )
    return tuple(found)


def _bound_keys(policy: Policy, now: float) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    for shown in policy.bound_keys.values():
        sign_in = shown.sign_in
        if sign_in is None or shown.public_key is None:
            continue
        if policy.void(shown) is None and policy.sign_in_over(shown.name, sign_in, now) is None:
            found.setdefault(shown.name, []).append((shown.public_key, policy.end_of(sign_in)))
    return found
