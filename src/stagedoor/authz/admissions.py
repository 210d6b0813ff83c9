"""The users who may enter a target now."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType

from stagedoor.authz.decide import authorise
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Admission, Grant
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy
from stagedoor.model.selector import list_named_users
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


def identify_by_name(policy: Policy, name: str) -> Identity:
    """Return an identity for questions about a user, whatever the credential."""
    user = policy.users.get(name)
    return Identity(name, frozenset() if user is None else user.groups, Method.CERTIFICATE)


def find_entering(policy: Policy, target: Target, now: float) -> list[tuple[str, Grant]]:
    """Return all users that `authorise` lets into `target` now, by name.

    Users with the same rules share one grant, with the identity of one of them.
    """
    subjects = frozenset(rule.subject for rule in policy.find_grants_about(target))
    names = set(list_named_users(subjects))
    names |= {request.user for request in policy.requests.values()}
    groups = frozenset(s.removeprefix("group:") for s in subjects if s.startswith("group:"))
    known: dict[frozenset[str], Grant | Denial] = {}
    """The verdicts on users without rules of their own, by the groups that rules are about."""
    entering = []
    for name, user in policy.users.items():
        if name in names:
            verdict = authorise(policy, identify_by_name(policy, name), target, now)
        else:
            theirs = groups & user.groups
            if theirs not in known:
                known[theirs] = authorise(policy, identify_by_name(policy, name), target, now)
            verdict = known[theirs]
        if isinstance(verdict, Grant):
            entering.append((name, verdict))
    return sorted(entering, key=itemgetter(0))


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
    for name, grant in find_entering(policy, target, now):
        registered = tuple(sorted(keys.get(name, ())))
        theirs = tuple(key for key in bound.get(name, ()) if key[1] > now)
        over = tuple(sorted(revoked.get(name, ())))
        admissions.append(Admission(name, registered, grant.expires_at, theirs, over, prefix))
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
