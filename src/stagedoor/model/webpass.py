"""Passes: secrets that the gateway issues on the web, so that a credential is presented only once."""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum

from stagedoor.model.identity import Method, SignIn


class PassKind(StrEnum):
    """The purposes of passes."""

    SESSION = "session"
    """The sign-in of a browser, which keeps it in a cookie."""
    LOGIN = "login"
    """The sign-in of a machine with `stagedoor login`, or of a key with ssh alone; it is bound to that
    key."""
    TICKET = "ticket"
    """Opens one terminal, once, within seconds. It is sent in a frame, never in a URL."""
    LINK = "link"
    """Signs in once, within minutes, as the identity that it was made for."""
    INVITATION = "invitation"
    """Sets the password of its user, once, within days; it opens nothing else."""


LOGIN_SECRET = "sgl_"  # noqa: S105 - a prefix, not a secret
"""The prefix of a login's secret, which keeps such secrets apart from passwords and tokens."""
SIGN_INS = (PassKind.SESSION, PassKind.LOGIN)
"""The kinds of passes that are sign-ins: they last, they can be ended, and what they opened ends with
them."""


@dataclass(frozen=True, slots=True)
class WebPass:
    """A stored pass, without its secret. `authn` decides whether it is still valid.

    `name`, `method`, `credential_id` and `scopes` are those of the identity that it was issued to
    (`model.identity.Identity`). `password_mark` is a digest of the password hash that the identity was
    verified against, None without a password. `target` limits the pass to a shell (`str(Target)`), to
    `share:ID` or to `watch:SESSION`; None allows any shell that the identity may enter. `expires_at` is
    seconds since the epoch.

    `sign_in` of a ticket is the sign-in of the browser that received it; `sign_in` of a stored session
    pass is the session itself. It is None if a credential was presented. `latest_end` is the latest
    time to which use may extend a session's `expires_at`, in seconds since the epoch; None: use does
    not extend it. `opened_at` and `source`, an address, are a session's. `answered_at` is when the
    identity provider of the sign-in last confirmed it; None if no provider can be asked.
    `key_fingerprint` (`SHA256:…`) is the key that a login is bound to, `public_key` that key as `type
    base64`. `label` is the name of a login's machine, or a session's browser and system.
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


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """A redirect of the browser to its identity provider: `url` leads there, and the browser keeps `kept`."""

    url: str
    kept: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StepUpResult:
    """A successful step-up at the identity provider. The browser continues at the path `wanted`."""

    wanted: str


def password_mark(password_hash: str | None) -> bytes | None:
    """Return a 32-byte digest that changes with the password and does not help to guess it."""
    return None if password_hash is None else hashlib.sha256(password_hash.encode()).digest()
