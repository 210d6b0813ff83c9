"""The identity of a session, packed into one word so that the session can outlive its worker.

The endpoint of resumable tunnels keeps the word. A worker that adopts the session judges the identity by the
current policy. The word has no secrets: it has a digest of the password's hash, as in `model.webpass`.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.policy import Policy
from stagedoor.model.webpass import WebPass, hash_password_mark

_UNREADABLE = Denial(
    Reason.SESSION_OVER, "its identity was written by another version of the gateway"
)


class _PackedIdentity(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    method: Method
    credential: str | None = None
    scopes: tuple[str, ...] | None = None
    password_mark: bytes | None = None
    sign_in: bytes | None = None
    sign_in_ends_at: float = 0.0
    user_created_at: float | None = None


def pack_identity(identity: Identity) -> str:
    """Return the identity as one word of letters, digits, `-`, `_` and `=`."""
    sign_in = identity.sign_in
    packed = _PackedIdentity(
        identity.name,
        identity.method,
        identity.credential_id,
        identity.scopes,
        hash_password_mark(identity.password_hash),
        None if sign_in is None else sign_in.id,
        0.0 if sign_in is None else sign_in.ends_at,
        identity.user_created_at,
    )
    return urlsafe_b64encode(msgspec.json.encode(packed)).decode("ascii")


def restore_identity(word: str, policy: Policy) -> Identity | Denial:
    """Return the identity in `word`, or why its credential is no longer valid by `policy`.

    The ends of its token and sign-in, and the time at which its user was added, are not checked: the caller
    authorises the identity next.
    """
    try:
        packed = msgspec.json.decode(urlsafe_b64decode(word), type=_PackedIdentity)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return _UNREADABLE
    why = policy.explain_void(
        WebPass(
            id=b"",
            name=packed.name,
            method=packed.method,
            credential_id=packed.credential,
            password_mark=packed.password_mark,
            expires_at=0.0,
        )
    )
    if why is not None:
        return Denial(Reason.NO_GRANT, why)
    user = policy.users[packed.name]
    return Identity(
        packed.name,
        user.groups,
        packed.method,
        packed.credential,
        packed.scopes,
        user.password_hash if packed.method is Method.PASSWORD else None,
        None if packed.sign_in is None else SignIn(packed.sign_in, packed.sign_in_ends_at),
        user_created_at=packed.user_created_at,
    )
