"""A login that waits for approval in a browser, with its states and transitions. Pure.

    WAITING  -> APPROVED   by the letters, or by a click with a code that only the same machine receives
    WAITING  -> DENIED     by the person, or by too many wrong letters
    APPROVED -> SPENT      once: by the verifier, with the code where there is one

A link sent to another person is useless: the letters are on the terminal that began the login (RFC 8628
§5.4), and the code goes to a port of the machine where the browser runs (RFC 8252 §7.3), which protects it as
well as the verifier does (RFC 7636). A login that another gateway began for its visitor is useless too (RFC
9207): both the letters and the code are bound to the address of the page, which the client compares with that
of its own gateway.
"""

import hmac
from dataclasses import dataclass, field, replace
from enum import StrEnum

from stagedoor.model.errors import RefusedError
from stagedoor.model.letters import derive_login_letters, hash_letters
from stagedoor.model.secret import hash_secret

LOGIN_PENDING_S = 180.0
"""The time in which a login has to be approved."""
TRIES = 5
"""The number of attempts at the letters."""
LOGIN_OVER = "this login is over or was never begun here; run stagedoor login again"


class LoginState(StrEnum):
    """The stored state of a login."""

    WAITING = "waiting"
    APPROVED = "approved"
    DENIED = "denied"
    SPENT = "spent"


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """A login before it is completed, as the store keeps it.

    `id` is part of the page's address. `challenge` is the SHA-256 of the client's verifier (32 bytes), or
    None for a login held by ssh, whose connection is the proof. `public_key` is `type base64` and
    `fingerprint` its `SHA256:…`; the client has proved that it has the private key. `letters_hash` is a
    `hash_letters`; it is empty until the client reveals its verifier, from which the letters are derived.
    `source` is the address from which the login was started, and `label` the machine's name for itself.
    `port` is the client's listening port on 127.0.0.1, or None. `wanted_user` is the only user who may
    approve, or the user who did; None allows any user. `sign_in` is the id of the sign-in that approved.
    `code_hash` (32 bytes) is the hash of the code that is needed to spend an approved login, None if it needs
    no code. Times are seconds since the epoch.
    """

    id: str
    challenge: bytes | None = field(repr=False)
    public_key: str
    fingerprint: str
    letters_hash: bytes = field(repr=False)
    source: str
    label: str
    port: int | None
    created_at: float
    ends_at: float
    wanted_user: str | None = None
    tries_left: int = TRIES
    state: LoginState = LoginState.WAITING
    sign_in: bytes | None = field(default=None, repr=False)
    code_hash: bytes | None = field(default=None, repr=False)

    def find_state(self, now: float) -> LoginState | None:
        """Return the state at `now`, or None if the login has expired."""
        return self.state if now < self.ends_at else None


def deny(login: PendingLogin, now: float) -> PendingLogin:
    """Return `login` as denied by the user. Raises RefusedError if it is over."""
    if login.find_state(now) not in (LoginState.WAITING, LoginState.APPROVED):
        raise RefusedError(LOGIN_OVER)
    return replace(login, state=LoginState.DENIED)


def derive_letters(login: PendingLogin, gateway: str, verifier: str) -> PendingLogin:
    """Return `login` with its letters, once the client has revealed `verifier`.

    `gateway` is the address at which the client used the gateway. Letters that are already set are kept.
    """
    if login.letters_hash:
        return login
    letters = derive_login_letters(gateway, login.id, login.fingerprint, verifier)
    return replace(login, letters_hash=hash_letters(login.id, letters, gateway))


def approve_by_letters(
    login: PendingLogin, now: float, sign_in: bytes, user: str, letters: str, gateway: str
) -> PendingLogin:
    """Approve a login by its letters. Wrong letters use up a try, and after the last try the login is denied.

    `gateway` is the address of the page where the letters were typed. The letters of a login held by
    ssh are not bound to an address, since it has no Stagedoor client. An approval by letters needs no
    code. Raises RefusedError if the login is over, or is for another user.
    """
    _require_open(login, now, user)
    page = "" if login.challenge is None else gateway
    if hmac.compare_digest(hash_letters(login.id, letters, page), login.letters_hash):
        state = LoginState.APPROVED
        return replace(login, state=state, sign_in=sign_in, wanted_user=user, code_hash=None)
    left = login.tries_left - 1
    state = login.state if left > 0 else LoginState.DENIED
    return replace(login, state=state, tries_left=left)


def approve_by_code(
    login: PendingLogin, now: float, sign_in: bytes, user: str, code: str
) -> PendingLogin:
    """Approve a login, provided that its client presents `code`, which the caller sends to the client's port.

    Raises RefusedError if the login is over, is for another user, or has no client that listens.
    """
    _require_open(login, now, user)
    if login.port is None or login.challenge is None:
        raise RefusedError("type the letters that the terminal shows")
    if login.sign_in not in (None, sign_in):
        raise RefusedError(LOGIN_OVER)
    return replace(
        login,
        state=LoginState.APPROVED,
        sign_in=sign_in,
        wanted_user=user,
        code_hash=hash_secret(code),
    )


def _require_open(login: PendingLogin, now: float, user: str) -> None:
    state = login.find_state(now)
    # A login that waits for its code still accepts letters, since the browser may be on another machine.
    if state is not LoginState.WAITING and (
        state is not LoginState.APPROVED or login.code_hash is None
    ):
        raise RefusedError(LOGIN_OVER)
    if login.wanted_user not in (None, user):
        raise RefusedError(f"this login is for another user than you, {user!r}; log in as yourself")


def has_verifier(login: PendingLogin, verifier: str) -> bool:
    """Return True if `verifier` is that of the client that began the login; never for a login held by ssh."""
    return login.challenge is not None and hmac.compare_digest(
        hash_secret(verifier), login.challenge
    )


def is_due(login: PendingLogin, now: float, code: str | None = None) -> bool:
    """Return True if the client that began the login can spend it now.

    A wrong code changes nothing, because any program on the client's machine can send one.
    """
    if login.find_state(now) is not LoginState.APPROVED:
        return False
    if login.code_hash is None:
        return True
    return code is not None and hmac.compare_digest(hash_secret(code), login.code_hash)


def spend(login: PendingLogin) -> PendingLogin:
    """Return `login` as spent, after its sign-in was created."""
    return replace(login, state=LoginState.SPENT)


def describe_tries(left: int) -> str:
    """Describe the number of attempts at the letters that are left."""
    return "1 try is left" if left == 1 else f"{left} tries are left"
