"""A login that waits for its person's approval in a browser. Pure: its states, and what leads to each.

    WAITING  -> APPROVED   by the letters, or by a click with a code that only the same machine receives
    WAITING  -> DENIED     by the person, or by too many wrong letters
    APPROVED -> SPENT      once: by the verifier, with the code where there is one

A link that is sent to somebody else is worth nothing: the letters are on the terminal that began (RFC 8628
§5.4), and the code goes to a port of the machine where the browser is (RFC 8252 §7.3), as good as its
verifier (RFC 7636). Nor is a login that another gateway began for its visitor (RFC 9207): both ways bind what
is approved to the address of the page, which the client compares with the gateway that it was given.
"""

import hashlib
import hmac
from dataclasses import dataclass, field, replace
from enum import StrEnum

from stagedoor.model.errors import RefusedError
from stagedoor.model.letters import letters_digest, login_letters

PENDING_S = 180.0
TRIES = 5
OVER = "this login is over or was never begun here; run stagedoor login again"


class LoginState(StrEnum):
    """As it is stored."""

    WAITING = "waiting"
    APPROVED = "approved"
    DENIED = "denied"
    SPENT = "spent"


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """`id` is in the page's address. `challenge` is the SHA-256 of the client's verifier (32 bytes); None for
    a login that ssh holds, whose connection is the proof. `public_key` is `type base64`, `fingerprint` its
    `SHA256:…`; the client has proved to hold the key. `letters_hash` is a `letters_digest`, empty until
    the client shows its verifier, of which its letters are made. `source` is the address that it began from,
    `label` what the machine calls itself. `port` is where the client listens on 127.0.0.1; None: nowhere.
    `wanted_user` is the only user who may approve, or who has; None: any may. `sign_in` is the id of the
    sign-in that approved. `code_hash` (32 bytes) is that of the code without which an approved one cannot be
    spent; None: there is none. Times are seconds since the epoch.
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

    def state_at(self, now: float) -> LoginState | None:
        """None once its time is over."""
        return self.state if now < self.ends_at else None


def digest(secret: str) -> bytes:
    """What is kept of a verifier or a code (32 bytes)."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def deny(login: PendingLogin, now: float) -> PendingLogin:
    """The person did not want it. Raises RefusedError where it is over."""
    if login.state_at(now) not in (LoginState.WAITING, LoginState.APPROVED):
        raise RefusedError(OVER)
    return replace(login, state=LoginState.DENIED)


def derive_letters(login: PendingLogin, gateway: str, verifier: str) -> PendingLogin:
    """Return `login` with the letters of its client, who has just shown `verifier` to the gateway at the
    address `gateway`. They are derived once."""
    if login.letters_hash:
        return login
    letters = login_letters(gateway, login.id, login.fingerprint, verifier)
    return replace(login, letters_hash=letters_digest(login.id, letters, gateway))


def approve_by_letters(
    login: PendingLogin, now: float, sign_in: bytes, user: str, letters: str, gateway: str
) -> PendingLogin:
    """Approve a login by its letters. Wrong ones cost a try, and deny the login after the last.

    `gateway` is the address of the page where they were typed. The letters of ssh's own logins, which have no
    client of ours, are bound to none. An approval by letters needs no code. Raises RefusedError where the
    login is over, or for another user.
    """
    _require_open(login, now, user)
    page = "" if login.challenge is None else gateway
    if hmac.compare_digest(letters_digest(login.id, letters, page), login.letters_hash):
        state = LoginState.APPROVED
        return replace(login, state=state, sign_in=sign_in, wanted_user=user, code_hash=None)
    left = login.tries_left - 1
    state = login.state if left > 0 else LoginState.DENIED
    return replace(login, state=state, tries_left=left)


def approve_by_code(
    login: PendingLogin, now: float, sign_in: bytes, user: str, code: str
) -> PendingLogin:
    """Approved for who shows the code, which the caller sends to the port. Raises RefusedError where it is
    over, for another user, and where the client listens nowhere."""
    _require_open(login, now, user)
    if login.port is None or login.challenge is None:
        raise RefusedError("type the letters that the terminal shows")
    if login.sign_in not in (None, sign_in):
        raise RefusedError(OVER)
    return replace(
        login,
        state=LoginState.APPROVED,
        sign_in=sign_in,
        wanted_user=user,
        code_hash=digest(code),
    )


def _require_open(login: PendingLogin, now: float, user: str) -> None:
    state = login.state_at(now)
    # One that waits for its code still takes the letters: the browser may be on another machine.
    if state is not LoginState.WAITING and (
        state is not LoginState.APPROVED or login.code_hash is None
    ):
        raise RefusedError(OVER)
    if login.wanted_user not in (None, user):
        raise RefusedError(f"this login is for another user than you, {user!r}; log in as yourself")


def holds_verifier(login: PendingLogin, verifier: str) -> bool:
    """Whether it is the client who began. Never of one that ssh holds."""
    return login.challenge is not None and hmac.compare_digest(digest(verifier), login.challenge)


def is_due(login: PendingLogin, now: float, code: str | None = None) -> bool:
    """Whether it can be spent now by who has shown that they began it. A wrong code harms nothing: anybody
    on the client's machine can send one."""
    if login.state_at(now) is not LoginState.APPROVED:
        return False
    if login.code_hash is None:
        return True
    return code is not None and hmac.compare_digest(digest(code), login.code_hash)


def spend(login: PendingLogin) -> PendingLogin:
    """As it is once its sign-in is made."""
    return replace(login, state=LoginState.SPENT)
