"""The users who may enter a target now."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from stagedoor.authz.decide import authorise
from stagedoor.model.grant import Admission, Grant
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy
from stagedoor.model.target import Target

KeysByUser = Mapping[str, Sequence[tuple[str, float]]]
"""The keys of each user's sign-ins, with the ends of the sign-ins."""


class BoundKeys:
    """The keys of open sign-ins, computed once per policy. For any thread."""

    def __init__(self) -> None:
        self._cached: tuple[Policy | None, KeysByUser] = (None, {})

    def list_keys(self, policy: Policy, now: float) -> KeysByUser:
        """Return the keys of each user. Some of the sign-ins may have ended since."""
        by, keys = self._cached
        if by is not policy:
            keys = _bound_keys(policy, now)
            self._cached = (policy, keys)
        return keys


def list_admissions(
    policy: Policy,
    target: Target,
    now: float,
    bound: KeysByUser = MappingProxyType({}),
    revoked: Mapping[str, Sequence[int]] = MappingProxyType({}),
    prefix: str = "",
) -> tuple[Admission, ...]:
    """Return all users that `authorise` accepts with a key or certificate of their own, by name.

    `bound` are keys of sign-ins (`BoundKeys`), for shells that learn of each sign-in within a second.
    `revoked` are `Admission.revoked` by user, for shells that accept the certificates of sign-ins. `prefix`
    is `keys.principal_prefix`.
    """
    keys: dict[str, list[str]] = {}
    for key in policy.keys.values():
        keys.setdefault(key.user, []).append(key.public_key)
    admissions = []
    for name, user in sorted(policy.users.items()):
        identity = Identity(name, user.groups, Method.CERTIFICATE)
        verdict = authorise(policy, identity, target, now)
        if isinstance(verdict, Grant):
            registered = tuple(sorted(keys.get(name, ())))
            theirs = tuple(key for key in bound.get(name, ()) if key[1] > now)
            over = tuple(sorted(revoked.get(name, ())))
            admissions.append(Admission(name, registered, verdict.expires_at, theirs, over, prefix))
    return tuple(admissions)


def _bound_keys(policy: Policy, now: float) -> KeysByUser:
    keys: dict[str, list[tuple[str, float]]] = {}
    for login in policy.bound_keys.values():
        if (
            policy.explain_void(login) is None
            and policy.explain_sign_in_end(login.name, login.sign_in, now) is None
        ):
            ends_at = policy.end_of(login.sign_in)
            keys.setdefault(login.name, []).append((login.public_key, ends_at))
    return {name: sorted(theirs) for name, theirs in keys.items()}
