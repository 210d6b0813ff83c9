"""Passes, the secrets that the gateway issues on the web so that a credential is presented only once.

There are five, each a class below. The store keeps them without their secrets (`store.sign_in.rows`).
`authn.passes` creates them, and decides whether one is still valid.
"""

import hashlib
from dataclasses import dataclass, field

from stagedoor.model.grant import SharedTerminal
from stagedoor.model.identity import Method, SignIn
from stagedoor.model.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPass:
    """The fields that all passes have.

    `id` is `hash_secret` of the secret. `name`, `method`, `credential_id` and `scopes` are those of the
    identity that the pass was issued to (`model.identity.Identity`). `password_mark` is a digest of the
    password hash that the identity was verified against, None without a password. `expires_at` is seconds
    since the epoch. `answered_at` is when the identity provider last confirmed the sign-in that the pass
    belongs to; None if no provider can be asked, or if it was not read.
    """

    id: bytes = field(repr=False)
    name: str
    method: Method
    credential_id: str | None = None
    scopes: tuple[str, ...] | None = None
    password_mark: bytes | None = field(default=None, repr=False)
    expires_at: float
    answered_at: float | None = None

    @property
    def sign_in(self) -> SignIn | None:
        """The sign-in that ends the pass when it ends, None if there is none."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInPass(WebPass):
    """A pass that is a sign-in. It lasts, can be ended, and everything that it opened ends with it.

    `latest_end` is the latest time to which use may extend `expires_at`. `source` is the address that the
    sign-in came from, at `opened_at`; both are None for a sign-in of an older program. `label` is the name of
    the machine, or of the browser and its system. `used_at` is when a use was last stored, None if none was
    (`authn.passes.is_use_stale`). Times are seconds since the epoch.
    """

    latest_end: float
    opened_at: float | None = None
    source: str | None = None
    label: str | None = None
    used_at: float | None = None

    @property
    def last_used_at(self) -> float | None:
        """The last use that is known, or when the sign-in was opened."""
        return self.opened_at if self.used_at is None else self.used_at

    @property
    def sign_in(self) -> SignIn:
        """The pass itself, as a sign-in."""
        return SignIn(self.id, self.expires_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSession(SignInPass):
    """The sign-in of a browser, which keeps the secret in a cookie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLogin(SignInPass):
    """The sign-in of a machine with `stagedoor login`, or of a key with ssh alone; it is bound to that key.

    `key_fingerprint` is the key's as `SHA256:…`, and `public_key` the key as `type base64`.
    """

    key_fingerprint: str
    public_key: str


@dataclass(frozen=True, slots=True)
class WatchedSession:
    """A session whose terminal a ticket's holder may watch, by the session's id."""

    session: str


TicketPurpose = Target | SharedTerminal | WatchedSession
"""The terminal that a ticket opens: one of an app, a shared one, or that of a session to watch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket(WebPass):
    """A pass that opens one terminal, once, within seconds. It is sent in a frame, never in a URL.

    `opened_by` is the sign-in of the browser that received it, None if a credential was presented.
    """

    purpose: TicketPurpose
    opened_by: SignIn | None = None

    @property
    def sign_in(self) -> SignIn | None:
        """The sign-in of the browser that received the ticket, if there is one."""
        return self.opened_by


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInLink(WebPass):
    """A pass that signs in once, within minutes, as the identity that it was made for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation(WebPass):
    """A pass that sets the password of its user, once, within days; it opens nothing else."""


LINK = "link"
"""The credential of a sign-in by an administrator's link; its method is that of the user's password."""
_METHODS = {
    Method.PASSWORD: "password",
    Method.TOKEN: "token",
    Method.PUBLIC_KEY: "SSH key",
    Method.CERTIFICATE: "certificate",
    Method.MACHINE: "token of a machine",
}
LOGIN_SECRET = "sgl_"  # noqa: S105 - a prefix, not a secret
"""The prefix of a login's secret, which distinguishes it from passwords and tokens."""


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """An identity provider's answer to a sign-in, kept with the sign-in.

    `provider` is the provider's name in the settings. `session_id` (`sid`) is the provider's own
    session, and `auth_time` when the person last authenticated there. `refresh_token` is sealed; None
    if the provider issued none, and so cannot be asked again. `ask_at` is when to ask it next. Times
    are seconds since the epoch.
    """

    provider: str
    issuer: str
    subject: str
    session_id: str | None
    auth_time: float | None
    answered_at: float
    refresh_token: str | None = field(repr=False)
    ask_at: float | None


def hash_password_mark(password_hash: str | None) -> bytes | None:
    """Return a 32-byte digest that changes with the password and does not help to guess it."""
    return None if password_hash is None else hashlib.sha256(password_hash.encode()).digest()


def describe_sign_in_method(method: Method, credential: str | None) -> str:
    """Return in words how a user signed in, since passkeys and links have the password's method."""
    if method is Method.SSO:
        return credential or "an identity provider"
    if method is Method.PASSWORD and credential is not None:
        return "one-time link" if credential == LINK else "passkey"
    return _METHODS.get(method, method.value) + (f" {credential}" if credential else "")
