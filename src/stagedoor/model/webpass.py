"""A pass: what the gateway gives out on the web, so that nobody shows a credential twice."""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum

from stagedoor.model.identity import Method, SignIn


class PassKind(StrEnum):
    """What a pass is good for."""

    SESSION = "session"
    """A browser that has signed in; a cookie holds it."""
    LOGIN = "login"
    """A machine that has logged in by `stagedoor login`, or a key by ssh alone; bound to that key."""
    TICKET = "ticket"
    """One terminal, once, within seconds; it stands in a frame, never in a URL."""
    LINK = "link"
    """One signing in, once, within minutes; its bearer is its identity."""
    INVITATION = "invitation"
    """Sets the password of its user, once, within days; it opens nothing else."""


LOGIN_SECRET = "sgl_"  # noqa: S105 - what each begins with
"""What a login's secret begins with: so it is never taken for a password or a token, nor the other way."""
SIGN_INS = (PassKind.SESSION, PassKind.LOGIN)
"""Kinds of passes that are sign-ins: they last, what they opened ends with them, and they can be ended."""


@dataclass(frozen=True, slots=True)
class WebPass:
    """A pass as it is stored, but for its secret. Whether it still holds is for `authn` to say.

    `name` and what follows are of the identity that it was given to (`model.identity.Identity`);
    `password_mark` is a digest of the password hash that it was verified against, None where it
    was not a password. `target` is all that it is good for: a shell, as `str(Target)`, or `share:ID`
    or `watch:SESSION`; None: any shell that its identity may enter. `expires_at` is seconds since
    the epoch. `sign_in` is that of a browser which got the ticket, or the one that a session's pass
    is itself once it is stored; None where a credential was shown. `latest_end` is how far a session's
    `expires_at` may be moved by use, seconds since the epoch; None: not at all. `opened_at` and `source`,
    an address, are a session's. `answered_at` is when the identity provider of its sign-in last said that
    it holds; None where none can be asked. `key_fingerprint` (`SHA256:…`) is the key that a login is bound
    to, `public_key` that key, `type base64`, and `label` what its machine is called,
    or a session's browser and system.
    """

    kind: PassKind
    name: str
    method: Method
    expires_at: float
    credential_id: str | None = None
    scopes: tuple[str, ...] | None = None
    password_mark: bytes | None = field(default=None, repr=False)
    target: str | None = None
    sign_in: SignIn | None = None
    latest_end: float | None = None
    opened_at: float | None = None
    source: str | None = None
    answered_at: float | None = None
    key_fingerprint: str | None = None
    label: str | None = None
    public_key: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """What an identity provider said when somebody signed in, to be kept with the sign-in.

    `provider` is its name here. `session_id` (`sid`) is its own session, `auth_time` when the person last
    proved themselves. `refresh_token` is sealed; None where the provider gave none, and so cannot be asked
    again. `ask_at` is when to ask it. Times are seconds since the epoch.
    """

    provider: str
    issuer: str
    subject: str
    session_id: str | None
    auth_time: float | None
    answered_at: float
    refresh_token: str | None = field(repr=False)
    ask_at: float | None


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """Somebody has to go to their identity provider first: `url` leads there, `kept` is for their browser."""

    url: str
    kept: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StepUpResult:
    """Somebody has proved at their identity provider that they are there, and wanted to go on to that
    path."""

    wanted: str


def password_mark(password_hash: str | None) -> bytes | None:
    """What tells whether a password is still the same, and helps nobody to find it (32 bytes)."""
    return None if password_hash is None else hashlib.sha256(password_hash.encode()).digest()
