"""The policy at one moment, as every worker keeps it in memory."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from msgspec import Struct

from stagedoor.model.access_request import AccessRequest, RequestRule
from stagedoor.model.denial import POLICY_UNAVAILABLE, Denial, Reason
from stagedoor.model.grant import GrantRule
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.role import RoleRule
from stagedoor.model.selector import TargetPattern, has_match, has_name, is_glob, list_subjects
from stagedoor.model.share import Share
from stagedoor.model.target import Target
from stagedoor.model.webpass import KeyLogin, WebPass, hash_password_mark

_RulesByText = dict[str, list[GrantRule]]


@dataclass(frozen=True, slots=True)
class User:
    """A user. `password_hash` is an argon2 PHC string, None for a user without a password.

    `language` is the one that the user has chosen (RFC 5646), or None. `access_set` is
    the access set that the user belongs to (`model.access_set`), if any. `created_at` (seconds since the
    epoch) distinguishes a user from an earlier one of the same name; None for a user that is not stored.
    """

    name: str
    groups: frozenset[str] = frozenset()
    password_hash: str | None = field(default=None, repr=False)
    language: str | None = None
    access_set: str | None = field(default=None, compare=False)
    created_at: float | None = field(default=None, compare=False)

    @property
    def subjects(self) -> frozenset[str]:
        """Return the subjects of rules that apply to the user."""
        return list_subjects(self.name, self.groups)

    def with_passwords_for(self, password_groups: frozenset[str] | None) -> "User":
        """Return the user without the password, unless one of the groups is in `password_groups`."""
        if password_groups is None or self.password_hash is None or self.groups & password_groups:
            return self
        return replace(self, password_hash=None)


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A stored token. `id` is public; `secret_hash` is the SHA-256 of the whole token (32 bytes).

    Times are seconds since the epoch. `created_at` is 0 for a token that is not stored yet.
    """

    id: str
    user: str
    secret_hash: bytes = field(repr=False)
    scopes: tuple[str, ...] | None = None
    expires_at: float | None = None
    created_at: float = field(default=0.0, compare=False)


class KeyRecord(Struct, frozen=True):
    """A registered public key. `public_key` is `type base64` without options or comment."""

    user: str
    fingerprint: str
    public_key: str
    comment: str = ""


class _Index:
    """The grants of one policy by subject and by pattern of apps, and its open requests by user.

    Its lists never change once they are made, because the index of the next policy shares most of them.
    """

    __slots__ = ("all_grants", "by_app", "grants", "requests")

    def __init__(self, grants: Iterable[GrantRule], requests: Iterable[AccessRequest]) -> None:
        self.grants: _RulesByText = defaultdict(list)
        for rule in grants:
            self.grants[rule.subject].append(rule)
        self.requests: dict[str, list[AccessRequest]] = defaultdict(list)
        for request in requests:
            self.requests[request.user].append(request)
        self.all_grants = tuple(grants)
        self.by_app: tuple[_RulesByText, _RulesByText] | None = None

    def update(
        self,
        removed: Sequence[GrantRule],
        added: Sequence[GrantRule],
        grants: tuple[GrantRule, ...],
        requests: Iterable[AccessRequest],
    ) -> "_Index":
        """Return the index of `grants` and `requests`, which differ by the grants removed and added."""
        index = _Index((), requests)
        index.all_grants = grants
        index.grants = _regroup(self.grants, removed, added, lambda rule: rule.subject)
        if self.by_app is not None:
            names, patterns = (
                _regroup(
                    rules,
                    [rule for rule in removed if is_glob(rule.app_pattern) == is_pattern],
                    [rule for rule in added if is_glob(rule.app_pattern) == is_pattern],
                    lambda rule: rule.app_pattern,
                )
                for is_pattern, rules in enumerate(self.by_app)
            )
            index.by_app = names, patterns
        return index

    def list_about(self, target: Target) -> list[GrantRule]:
        """Return the grants whose patterns match `target`."""
        about = self._list_of_app(target.app, lambda pattern: has_name(pattern, target.app))
        return [rule for rule in about if has_match("*", rule.environment_pattern, target)]

    def list_including(self, inner: TargetPattern) -> list[GrantRule]:
        """Return the grants whose patterns match all that `inner` matches."""
        whole = TargetPattern(inner.app)
        about = self._list_of_app(inner.app, lambda app: TargetPattern(app).has_all_of(whole))
        return [rule for rule in about if rule.pattern.has_all_of(inner)]

    def _list_of_app(self, name: str, has_pattern: Callable[[str], bool]) -> list[GrantRule]:
        """Return the grants for the app. A name is looked up, a pattern matched once."""
        if self.by_app is None:  # two threads may both make it, which is harmless
            by_app: tuple[_RulesByText, _RulesByText] = (defaultdict(list), defaultdict(list))
            for rule in self.all_grants:
                by_app[is_glob(rule.app_pattern)][rule.app_pattern].append(rule)
            self.by_app = by_app
        names, patterns = self.by_app
        about = list(names.get(name, ()))
        for pattern, rules in patterns.items():
            if has_pattern(pattern):
                about += rules
        return about


def _regroup(
    rules: _RulesByText,
    removed: Sequence[GrantRule],
    added: Sequence[GrantRule],
    key: Callable[[GrantRule], str],
) -> _RulesByText:
    """Return the groups without the rules removed, and with those added."""
    regrouped = dict(rules)
    for rule in removed:
        kept = [other for other in regrouped[key(rule)] if other.id != rule.id]
        if kept:
            regrouped[key(rule)] = kept
        else:
            del regrouped[key(rule)]
    for rule in added:
        regrouped[key(rule)] = [*regrouped.get(key(rule), ()), rule]
    return regrouped


@dataclass(frozen=True, slots=True)
class Policy:
    """Users by name, tokens by id, keys by fingerprint (`SHA256:…`), shares by id, and rules in order of id.

    `disabled` are users without any access now. They are not in `users`, so checks of access do not find
    them. Everything that belongs to them is kept.

    `signed_out` has the sign-ins that were ended early, by id (`model.identity.SignIn`), each with the reason
    for its user, None if the user signed out. `sign_ins_end` has users with more ended sign-ins than are kept
    separately: every sign-in of theirs that ends by this time, in seconds since the epoch, is over.
    `sign_in_ends` has the current end of sign-ins by id, because use extends them. `bound_keys` are the
    sign-ins of machines, by the fingerprint of the key that each is bound to; some may be over. `stepped_up`
    has the time of the last proof of presence by sign-in (see `authz.step_up`), and `password_proofs` that of
    the last one by password, which counts for less. `password_groups` are the only groups with passwords
    according to the settings; None accepts the password of every user. `request_rules` say who may ask for
    access, and `requests` are the access requests that are pending or approved, by number; some may be over.
    `roles` say who administers which apps; some may be over. If `is_unavailable`, the store has been
    unreachable for too long, so nothing is known about any user.
    """

    version: int = 0
    users: Mapping[str, User] = field(default_factory=lambda: MappingProxyType({}))
    tokens: Mapping[str, TokenRecord] = field(default_factory=lambda: MappingProxyType({}))
    keys: Mapping[str, KeyRecord] = field(default_factory=lambda: MappingProxyType({}))
    grants: tuple[GrantRule, ...] = ()
    shares: Mapping[str, Share] = field(default_factory=lambda: MappingProxyType({}))
    signed_out: Mapping[bytes, str | None] = field(default_factory=lambda: MappingProxyType({}))
    sign_ins_end: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    sign_in_ends: Mapping[bytes, float] = field(default_factory=lambda: MappingProxyType({}))
    bound_keys: Mapping[str, KeyLogin] = field(default_factory=lambda: MappingProxyType({}))
    stepped_up: Mapping[bytes, float] = field(default_factory=lambda: MappingProxyType({}))
    password_proofs: Mapping[bytes, float] = field(default_factory=lambda: MappingProxyType({}))
    disabled: Mapping[str, User] = field(default_factory=lambda: MappingProxyType({}))
    password_groups: frozenset[str] | None = None
    request_rules: Mapping[int, RequestRule] = field(default_factory=lambda: MappingProxyType({}))
    requests: Mapping[int, AccessRequest] = field(default_factory=lambda: MappingProxyType({}))
    roles: Mapping[int, RoleRule] = field(default_factory=lambda: MappingProxyType({}))
    is_unavailable: bool = False
    _index: list[_Index] = field(default_factory=list, init=False, repr=False, compare=False)
    """The index, made when it is first needed. Not every change of a policy is followed by a login."""

    def find_subjects(self, name: str) -> frozenset[str]:
        """Return the subjects of rules that apply to a user, or none if the user is disabled or removed."""
        user = self.users.get(name)
        return frozenset() if user is None else user.subjects

    def find_grants(self, subjects: Iterable[str]) -> list[GrantRule]:
        """Return the grants whose subject is among `subjects`, in order of number."""
        grants = self._indexed().grants
        theirs = [rule for subject in subjects for rule in grants.get(subject, ())]
        return sorted(theirs, key=lambda rule: rule.id)

    def find_grants_about(self, target: Target) -> list[GrantRule]:
        """Return the grants for all subjects whose patterns match `target`, in order of number."""
        return sorted(self._indexed().list_about(target), key=lambda rule: rule.id)

    def find_grants_including(self, pattern: TargetPattern) -> list[GrantRule]:
        """Return the grants for all subjects that certainly match all apps of `pattern`."""
        return self._indexed().list_including(pattern)

    def find_requests(self, name: str) -> list[AccessRequest]:
        """Return the user's access requests that are pending or approved."""
        return self._indexed().requests.get(name, [])

    def update_index(
        self, before: "Policy", removed: Sequence[GrantRule], added: Sequence[GrantRule]
    ) -> "Policy":
        """Make the index from that of an earlier policy, whose grants differ by these. Return this policy."""
        if before._index:
            index = before._index[0].update(removed, added, self.grants, self.requests.values())
            self._index.append(index)
        return self

    def _indexed(self) -> _Index:
        if not self._index:  # two threads may both make it, which is harmless
            self._index.append(_Index(self.grants, self.requests.values()))
        return self._index[0]

    def with_passwords_for(self, password_groups: frozenset[str] | None) -> "Policy":
        """Return the policy with no passwords for users outside of `password_groups`; None changes nothing.

        Everything that a password proved or opened is then judged as if the password had been removed.
        """
        if password_groups is None:
            return self
        users = {
            name: user.with_passwords_for(password_groups) for name, user in self.users.items()
        }
        limited = replace(self, users=MappingProxyType(users), password_groups=password_groups)
        limited._index.extend(self._index)
        return limited

    @property
    def all_users(self) -> dict[str, User]:
        """Return all users by name, disabled ones included."""
        return dict(sorted({**self.users, **self.disabled}.items()))

    def explain_absence(self, name: str) -> str:
        """Return why the user `name` is no longer in `users`."""
        if name in self.disabled:
            return f"the user {name!r} is disabled"
        return f"there is no user {name!r} any more"

    def make_absence_denial(self, reason: Reason, name: str) -> Denial:
        """Return the refusal of a user who is no longer in `users`."""
        if name not in self.disabled:
            return Denial(reason, self.explain_absence(name))
        return Denial.with_fix(
            reason,
            self.explain_absence(name),
            f"an administrator ends that with: stagedoor user enable {name}",
            "ask an administrator",
        )

    def explain_password_end(self, user: User) -> str:
        """Return why the password that `user` presented before is no longer valid."""
        if user.password_hash is None and self.password_groups is not None:
            return f"{user.name!r} is in none of the groups that have passwords"
        return f"the password of {user.name!r} was changed"

    def end_of(self, sign_in: SignIn) -> float:
        """Return when a sign-in ends, in seconds since the epoch.

        Use of the sign-in moves its end, so it may be later than `sign_in` says.
        """
        return max(sign_in.ends_at, self.sign_in_ends.get(sign_in.id, sign_in.ends_at))

    def check_credential(self, identity: Identity, now: float) -> float | Denial | None:
        """Return when the credential of `identity` ends (None: never), or why it is no longer valid."""
        if self.is_unavailable:
            return POLICY_UNAVAILABLE
        if identity.name not in self.users:
            return self.make_absence_denial(Reason.NO_GRANT, identity.name)
        if (void := self.explain_void(identity)) is not None:
            return Denial(Reason.NO_GRANT, void)
        shown = identity.credential_id or ""
        until = self.tokens[shown].expires_at if identity.method is Method.TOKEN else None
        if until is not None and until <= now:
            return Denial.with_fix(
                Reason.NO_GRANT,
                f"token {shown} of {identity.name!r} has expired",
                f"an administrator makes a new one with: stagedoor token create {identity.name}",
                "make a new one on your account page, or ask an administrator",
            )
        if identity.sign_in is None:
            return until
        over = self.explain_sign_in_end(identity.name, identity.sign_in, now)
        if over is not None:
            return Denial(Reason.NO_GRANT, over)
        ends_at = self.end_of(identity.sign_in)
        return ends_at if until is None else min(until, ends_at)

    def explain_void(self, shown: WebPass | Identity) -> str | None:
        """Return why the credential behind a pass or an identity was withdrawn, or None while it was not.

        This ignores the time: `check_credential` also knows expired tokens and sign-ins.
        """
        user = self.users.get(shown.name)
        if user is None:
            return self.explain_absence(shown.name)
        if isinstance(shown, Identity) and shown.user_created_at not in (None, user.created_at):
            return f"the user {user.name!r} was removed and added again"
        credential = shown.credential_id or ""
        match shown.method:
            case Method.PASSWORD:
                is_same = (
                    shown.password_hash == user.password_hash
                    if isinstance(shown, Identity)
                    else shown.password_mark == hash_password_mark(user.password_hash)
                )
                return None if is_same else self.explain_password_end(user)
            case Method.TOKEN:
                token = self.tokens.get(credential)
                if token is None or token.user != user.name:
                    return f"token {credential} of {user.name!r} was removed"
            case Method.PUBLIC_KEY:
                key = self.keys.get(credential)
                if key is None or key.user != user.name:
                    return f"key {credential} of {user.name!r} was removed"
        return None

    def explain_sign_in_end(self, user: str, sign_in: SignIn, now: float) -> str | None:
        """Return why a sign-in of `user` is over, as a line for the user, or None while it lasts."""
        if sign_in.id in self.signed_out:
            return (
                self.signed_out[sign_in.id]
                or "you signed out in this browser; sign in again to come back"
            )
        ends_at = self.end_of(sign_in)
        if ends_at <= now:
            return "your sign-in has expired; sign in again to continue"
        if ends_at <= self.sign_ins_end.get(user, now):
            return "so many later sign-ins of yours were ended that this one is too; sign in again"
        return None
