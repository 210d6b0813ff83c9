"""The rule of entry asked the other way round: given a target, who may enter it now?"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from stagedoor.authz.decide import authorise
from stagedoor.model.admission import Admission
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy
from stagedoor.model.target import Target

_NONE: Mapping[str, Sequence[tuple[str, float]]] = MappingProxyType({})
_NONE_REVOKED: Mapping[str, Sequence[int]] = MappingProxyType({})


class BoundKeys:
    """The keys of the sign-ins that last, by user; worked out once for each policy. For any thread."""

    def __init__(self) -> None:
        self._found: tuple[Policy | None, Mapping[str, Sequence[tuple[str, float]]]] = (None, _NONE)

    def of(self, policy: Policy, now: float) -> Mapping[str, Sequence[tuple[str, float]]]:
        """Each key with the end of its sign-in, which may have come since."""
        by, found = self._found
        if by is not policy:
            found = _bound_keys(policy, now)
            self._found = (policy, found)
        return found


def admitted(
    policy: Policy,
    target: Target,
    now: float,
    bound: Mapping[str, Sequence[tuple[str, float]]] = _NONE,
    revoked: Mapping[str, Sequence[int]] = _NONE_REVOKED,
) -> tuple[Admission, ...]:
    """Everybody whom `authorise` would let in with a key or certificate of their own, by name.

    `bound` are keys of sign-ins (`BoundKeys`), for a shell that hears of each sign-in within a second;
    `revoked`, for one that takes their certificates, are `Admission.revoked` by user.
    """
    keys: dict[str, list[str]] = {}
    for key in policy.keys.values():
        keys.setdefault(key.user, []).append(key.public_key)
    found = []
    for name, user in sorted(policy.users.items()):
        identity = Identity(name, user.groups, Method.CERTIFICATE)
        verdict = authorise(policy, identity, target, now)
        if isinstance(verdict, Grant):
            registered = tuple(sorted(keys.get(name, ())))
            theirs = tuple(one for one in bound.get(name, ()) if one[1] > now)
            over = tuple(sorted(revoked.get(name, ())))
            found.append(Admission(name, registered, verdict.expires_at, theirs, over))
    return tuple(found)


def _bound_keys(policy: Policy, now: float) -> Mapping[str, Sequence[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    for shown in policy.bound_keys.values():
        sign_in = shown.sign_in
        if sign_in is None or shown.public_key is None:
            continue
        if policy.void(shown) is None and policy.sign_in_over(shown.name, sign_in, now) is None:
            found.setdefault(shown.name, []).append((shown.public_key, policy.end_of(sign_in)))
    return {name: sorted(theirs) for name, theirs in found.items()}
