"""The rule of entry asked the other way round: given a target, who may enter it now?"""

from stagedoor.authz.decide import authorise
from stagedoor.model.admission import Admission
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy
from stagedoor.model.target import Target


def admitted(policy: Policy, target: Target, now: float) -> tuple[Admission, ...]:
    """Everybody whom `authorise` would let in with a key or certificate of their own, by name."""
    keys: dict[str, list[str]] = {}
    for key in policy.keys.values():
        keys.setdefault(key.user, []).append(key.public_key)
    found = []
    for name, user in sorted(policy.users.items()):
        identity = Identity(name, user.groups, Method.CERTIFICATE)
        verdict = authorise(policy, identity, target, now)
        if isinstance(verdict, Grant):
            found.append(Admission(name, tuple(sorted(keys.get(name, ()))), verdict.expires_at))
    return tuple(found)
