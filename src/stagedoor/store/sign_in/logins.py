"""The sign-ins of machines and keys, each bound to a key and derived from the sign-in that approved it."""

from collections.abc import Collection

from sqlalchemy import delete, select

from stagedoor.model.errors import NotFoundError
from stagedoor.model.identity import Method
from stagedoor.model.pending_login import PendingLogin
from stagedoor.model.secret import hash_secret
from stagedoor.model.webpass import LOGIN_SECRET, KeyLogin, SignInPass, WebSession
from stagedoor.store import people
from stagedoor.store.changes import Part, touch
from stagedoor.store.database import Database, Transaction
from stagedoor.store.sign_in import provider_answers as answers
from stagedoor.store.sign_in.passes import end_sign_in, make_secret
from stagedoor.store.sign_in.rows import add_pass, read_logins, read_newest_sign_in, read_pass
from stagedoor.store.sign_in.tables import SIGN_INS, PassKind, web_passes

_REPLACED = "another login was made with the key of this one; log in again"


def open_login(
    transaction: Transaction, approved: PendingLogin, session_s: float, now: float
) -> tuple[str, KeyLogin]:
    """Create the sign-in of an approved login, and return it with its secret. Call this in a policy change.

    It expires `session_s` seconds after its last use, but lasts no longer than the sign-in that approved it
    may (`web.session_max_s`). It also ends when that sign-in's identity provider ends it, but not by signing
    out in the browser. Other sign-ins with the same key end now. Raises NotFoundError if the sign-in that
    approved it is over, RefusedError if the user is disabled.
    """
    assert approved.sign_in is not None, "an approved login has it"
    approver = read_pass(transaction, WebSession, approved.sign_in)
    if approver is None or approver.expires_at <= now:
        raise NotFoundError(
            "the sign-in that approved this login is over; sign in and approve again"
        )
    people.require_enabled(transaction, approver.name)
    secret = make_secret(LOGIN_SECRET)
    login = KeyLogin(
        id=hash_secret(secret),
        name=approver.name,
        method=approver.method,
        credential_id=approver.credential_id,
        scopes=approver.scopes,
        password_mark=approver.password_mark,
        expires_at=min(now + session_s, approver.latest_end),
        latest_end=approver.latest_end,
        opened_at=now,
        source=approved.source,
        label=approved.label,
        key_fingerprint=approved.fingerprint,
        public_key=approved.public_key,
    )
    _bind(transaction, login, now)
    answers.follow(transaction, approver.id, login.id)
    return secret, login


def open_machine_login(
    transaction: Transaction,
    user: str,
    *,
    rule: str,
    key_fingerprint: str,
    public_key: str,
    label: str,
    source: str,
    ends_at: float,
    now: float,
) -> tuple[str, KeyLogin]:
    """Create a sign-in for a machine with its own token, bound to the key, and return it with its secret.

    Its end stays the same when it is used. Expired sign-ins of machines are removed. Call this in a policy
    change. Raises NotFoundError if the user is unknown, RefusedError if the user is disabled.
    """
    people.require_user(transaction, user)
    people.require_enabled(transaction, user)
    expired = delete(web_passes).where(
        web_passes.c.kind == PassKind.LOGIN,
        web_passes.c.method == Method.MACHINE.value,
        web_passes.c.expires_at <= now,
    )
    removed = transaction.execute(expired.returning(web_passes.c.key_fingerprint)).scalars().all()
    touch(transaction, Part.BOUND_KEYS, removed)
    secret = make_secret(LOGIN_SECRET)
    login = KeyLogin(
        id=hash_secret(secret),
        name=user,
        method=Method.MACHINE,
        credential_id=rule,
        expires_at=ends_at,
        latest_end=ends_at,
        opened_at=now,
        source=source,
        label=label,
        key_fingerprint=key_fingerprint,
        public_key=public_key,
    )
    _bind(transaction, login, now)
    return secret, login


def _bind(transaction: Transaction, login: KeyLogin, now: float) -> None:
    """Store a new sign-in, and end the others with the same key."""
    others = select(web_passes.c.secret_hash).where(
        web_passes.c.key_fingerprint == login.key_fingerprint,
        web_passes.c.kind.in_(SIGN_INS),
        web_passes.c.expires_at > now,
    )
    for other in transaction.execute(others).scalars().all():
        end_sign_in(transaction, bytes(other), _REPLACED, now)
    add_pass(transaction, login)
    touch(transaction, Part.BOUND_KEYS, [login.key_fingerprint])


def read_bound_keys(
    transaction: Transaction, only: Collection[str] | None = None
) -> dict[str, KeyLogin]:
    """Return the logins by the fingerprints of their keys, for `bound_keys` of the policy.

    With `only`, return just those with these fingerprints.
    """
    is_wanted = None if only is None else web_passes.c.key_fingerprint.in_(only)
    return {login.key_fingerprint: login for login in read_logins(transaction, is_wanted)}


def find_sign_in_of_key(database: Database, fingerprint: str, now: float) -> SignInPass | None:
    """Return the active login that is bound to the key (`SHA256:…`), or None. Raises StoreError."""
    with database.read() as transaction:
        return read_newest_sign_in(transaction, web_passes.c.key_fingerprint == fingerprint, now)


def find_sign_in_by_number(database: Database, number: int, now: float) -> SignInPass | None:
    """Return the active sign-in with that number (`model.identity.SignIn.number`), or None.

    Raises StoreError.
    """
    if not 0 <= number < 2**63:
        return None
    first, last = ((number << 1 | bit).to_bytes(8) for bit in (0, 1))
    # A single range of the primary key.
    is_numbered = web_passes.c.secret_hash.between(first + bytes(24), last + b"\xff" * 24)
    with database.read() as transaction:
        return read_newest_sign_in(transaction, is_numbered, now)
