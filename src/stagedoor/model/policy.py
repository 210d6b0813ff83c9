"""The whole policy at one moment, as it is held in memory by every worker."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import GrantRule
from stagedoor.model.identity import Method, SignIn
from stagedoor.model.share import Share
from stagedoor.model.webpass import WebPass, password_mark


@dataclass(frozen=True, slots=True)
class User:
    """`password_hash` is an argon2 PHC string; None where the user has no password."""

    name: str
    groups: frozenset[str] = frozenset()
    password_hash: str | None = field(default=None, repr=False)

    def limited_to(self, password_groups: frozenset[str] | None) -> "User":
        """As they count where only these groups have passwords; None: every user with one."""
        if password_groups is None or self.password_hash is None or self.groups & password_groups:
            return self
        return replace(self, password_hash=None)


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token as stored: `id` is public, `secret_hash` is SHA-256 of the whole token (32 bytes)."""

    id: str
    user: str
    secret_hash: bytes = field(repr=False)
    scopes: tuple[str, ...] | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A registered public key: `public_key` is `type base64` without options or comment."""

    user: str
    fingerprint: str
    public_key: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """Users by name, tokens by id, keys by fingerprint (`SHA256:…`), shares by id; rules in order of id.

    `disabled` are users who may do nothing now, and are not in `users`: whatever asks who may enter finds
    nobody of that name. What they have is kept.

    `signed_out` are the sign-ins (`model.identity.SignIn`) that were ended before their time;
    `end_reasons` is what the person is told, where it was not they who ended it.
    `sign_ins_end` has the users of whom more were ended than are kept one by one: each of their
    sign-ins that ends by then, seconds since the epoch, is over. `sign_in_ends` has the
    present end of sign-ins by id: use moves it. `bound_keys` are the sign-ins of machines, by the
    fingerprint of the key that each is bound to; some may be over. `stepped_up` is when somebody last proved
    that they are there, by sign-in (see `authz.step_up`). `password_groups` are the groups that
    alone have passwords, which the settings say; None: every user with one. `unread`: the store was out of
    reach for too long, so nothing is known of anybody.
    """

    version: int = 0
    users: Mapping[str, User] = field(default_factory=lambda: MappingProxyType({}))
    tokens: Mapping[str, TokenRecord] = field(default_factory=lambda: MappingProxyType({}))
    keys: Mapping[str, KeyRecord] = field(default_factory=lambda: MappingProxyType({}))
    grants: tuple[GrantRule, ...] = ()
    shares: Mapping[str, Share] = field(default_factory=lambda: MappingProxyType({}))
    signed_out: frozenset[bytes] = frozenset()
    end_reasons: Mapping[bytes, str] = field(default_factory=lambda: MappingProxyType({}))
    sign_ins_end: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    sign_in_ends: Mapping[bytes, float] = field(default_factory=lambda: MappingProxyType({}))
    bound_keys: Mapping[str, WebPass] = field(default_factory=lambda: MappingProxyType({}))
    stepped_up: Mapping[bytes, float] = field(default_factory=lambda: MappingProxyType({}))
    disabled: Mapping[str, User] = field(default_factory=lambda: MappingProxyType({}))
    password_groups: frozenset[str] | None = None
    unread: bool = False

    def limited_to(self, password_groups: frozenset[str] | None) -> "Policy":
        """The same, but for users outside these groups, who have no password. So whatever a password proved,
        and whatever it opened, is judged as if it had been taken away."""
        if password_groups is None:
            return self
        users = {name: user.limited_to(password_groups) for name, user in self.users.items()}
        return replace(self, users=MappingProxyType(users), password_groups=password_groups)

    @property
    def everybody(self) -> dict[str, User]:
        """All users there are, disabled ones among them, by name."""
        return dict(sorted({**self.users, **self.disabled}.items()))

    def gone(self, name: str) -> str:
        """Why nobody of that name is in `users`, who was there before."""
        if name in self.disabled:
            return f"the user {name!r} is disabled"
        return f"there is no user {name!r} any more"

    def deny_gone(self, reason: Reason, name: str) -> Denial:
        """Return the refusal of a user who is not in `users` any more."""
        if name not in self.disabled:
            return Denial(reason, self.gone(name))
        return Denial.with_mend(
            reason,
            self.gone(name),
            f"an administrator ends that with: stagedoor user enable {name}",
            "ask an administrator",
        )

    def password_over(self, user: User) -> str:
        """Why the password that `user` has shown before is good no more."""
        if user.password_hash is None and self.password_groups is not None:
            return f"{user.name!r} is in none of the groups that have passwords (accounts.password_groups)"
        return f"the password of {user.name!r} was changed"

    def end_of(self, sign_in: SignIn) -> float:
        """When it ends, seconds since the epoch; it may have been used since its identity was made."""
        return max(sign_in.ends_at, self.sign_in_ends.get(sign_in.id, sign_in.ends_at))

    def void(self, shown: WebPass) -> str | None:
        """Why what a pass was given for proves nothing any more; None while it does."""
        user = self.users.get(shown.name)
        if user is None:
            return self.gone(shown.name)
        match shown.method:
            case Method.PASSWORD if password_mark(user.password_hash) != shown.password_mark:
                return self.password_over(user)
            case Method.TOKEN if shown.credential_id not in self.tokens:
                return f"the token {shown.credential_id} was removed"
            case Method.PUBLIC_KEY if shown.credential_id not in self.keys:
                return f"the key {shown.credential_id} was removed"
        return None

    def sign_in_over(self, user: str, sign_in: SignIn, now: float) -> str | None:
        """Why nothing of a sign-in of `user` holds any more, for the person; None while it lasts."""
        if sign_in.id in self.signed_out:
            signed_out = "you signed out in this browser; sign in again to come back"
            return self.end_reasons.get(sign_in.id, signed_out)
        ends_at = self.end_of(sign_in)
        if ends_at <= now:
            return "the time of your sign-in is over; sign in again to go on"
        if ends_at <= self.sign_ins_end.get(user, now):
            return "so many later sign-ins of yours were ended that this one is too; sign in again"
        return None
