"""The tables of sign-ins and of the proofs of a user's identity. Part of `schema`."""

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from stagedoor.store.columns import (
    make_integer_type,
    make_owner_column,
    make_text_key_type,
    metadata,
)


class PassKind(StrEnum):
    """The kinds of rows in `web_passes`."""

    SESSION = "session"
    LOGIN = "login"
    TICKET = "ticket"
    LINK = "link"
    INVITATION = "invitation"
    SIGNED_OUT = "signed-out"
    """A session or login that was ended. Its secret is no longer accepted."""
    PROOF = "proof"
    """No pass: the user of `sign_in` typed their password at `opened_at`, and that counts for a while."""


SIGN_INS = (PassKind.SESSION, PassKind.LOGIN)

web_passes = Table(
    "web_passes",
    metadata,
    Column("secret_hash", LargeBinary(32), primary_key=True),
    Column("kind", String(16), nullable=False),
    make_owner_column(),
    Column("method", String(16), nullable=False),
    Column("credential_id", Text),
    Column("scopes", Text),
    Column("password_mark", LargeBinary(32)),
    Column("target", Text),
    Column("expires_at", Float, nullable=False),
    Column("sign_in", LargeBinary(32)),
    Column("latest_end", Float),
    Column("renewed_at", Float),
    Column("opened_at", Float),
    Column("source", Text),
    Column("end_reason", Text),
    Column("key_fingerprint", make_text_key_type(64)),
    Column("label", Text),
    Column("public_key", Text),
    Column("stepped_up_at", Float),
    Index("web_passes_by_expiry", "expires_at"),
    Index("web_passes_by_key", "key_fingerprint"),
)
"""See `rows`. Since version 3; `sign_in`, the session that a ticket comes from, since version 5. Since
version 7: `latest_end`, up to which use moves the end of a session; `renewed_at`, when use was last stored;
`opened_at`; `source`, the address that it was opened from; and `end_reason`, the message for the user if
another person ended it. `key_fingerprint`, the key that a login is bound to, and `label`, the name of its
machine, since version 8; `public_key`, the whole key, since version 9; `stepped_up_at`, the user's last
proof of presence, since version 11."""

provider_answers = Table(
    "provider_answers",
    metadata,
    Column(
        "sign_in",
        ForeignKey("web_passes.secret_hash", ondelete="CASCADE"),
        primary_key=True,
        nullable=False,
    ),
    Column("provider", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("session_id", Text),
    Column("auth_time", Float),
    Column("answered_at", Float, nullable=False),
    Column("refresh_token", Text),
    Column("ask_at", Float),
    Column("failures", Integer, nullable=False),
    Column("follows", LargeBinary(32)),
    Column("failure", Text),
    Column("failed_at", Float),
    Index("provider_answers_by_time", "ask_at"),
    Index("provider_answers_by_subject", "issuer", "subject"),
)
"""The answers of identity providers about active sessions; see `provider_answers`. Since version 7.
`refresh_token` is sealed. `ask_at` is when a process asks again. `follows`, the sign-in whose row has the
token for this sign-in too, since version 8. `failure`, why the provider did not confirm the sign-in when it
was last asked, at `failed_at`, since version 14: both are NULL after it has confirmed it."""

logout_tokens = Table(
    "logout_tokens",
    metadata,
    Column("id", LargeBinary(32), primary_key=True),
    Column("expires_at", Float, nullable=False),
)
"""The logout tokens that were used, so that none is used twice. Since version 7."""

pending_logins = Table(
    "pending_logins",
    metadata,
    Column("id", make_text_key_type(32), primary_key=True),
    Column("challenge", LargeBinary(32)),
    Column("public_key", Text, nullable=False),
    Column("fingerprint", make_text_key_type(64), nullable=False),
    Column("letters_hash", LargeBinary(32), nullable=False),
    Column("source", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("port", Integer),
    Column("wanted_user", Text),
    Column("created_at", Float, nullable=False),
    Column("ends_at", Float, nullable=False),
    Column("tries_left", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("sign_in", LargeBinary(32)),
    Column("code_hash", LargeBinary(32)),
    Index("pending_logins_by_end", "ends_at"),
)
"""See `model.pending_login`. Since version 8."""

certified_sign_ins = Table(
    "certified_sign_ins",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("valid_before", Float, nullable=False),
    Column("user_name", make_text_key_type(64)),
)
"""See `certified`. Since version 10. A row outlives its sign-in and its user: a sign-in that is over is then
revoked. `user_name`, since version 12, is NULL in rows of older programs."""

passkeys = Table(
    "passkeys",
    metadata,
    Column("id", make_text_key_type(32), primary_key=True),
    make_owner_column(),
    Column("name", Text, nullable=False),
    Column("rp_id", Text, nullable=False),
    Column("credential", LargeBinary, nullable=False),
    Column("sign_count", make_integer_type(), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("used_at", Float),
    Index("passkeys_by_user", "user_name"),
)
"""See `passkeys`. Since version 11. `id` is a digest of the credential's own id; `credential` is WebAuthn's
attested credential data, with the public key."""

passkey_challenges = Table(
    "passkey_challenges",
    metadata,
    Column("challenge_hash", LargeBinary(32), primary_key=True),
    Column("purpose", String(16), nullable=False),
    Column("user_name", make_text_key_type(64)),
    Column("sign_in", LargeBinary(32)),
    Column("step_up", make_text_key_type(32)),
    Column("expires_at", Float, nullable=False),
    Index("passkey_challenges_by_expiry", "expires_at"),
)
"""The passkey challenges that wait. Since version 11. A row is removed when its challenge is answered, so
that none is answered twice."""

step_ups = Table(
    "step_ups",
    metadata,
    Column("id", make_text_key_type(32), primary_key=True),
    Column("sign_in", ForeignKey("web_passes.secret_hash", ondelete="CASCADE"), nullable=False),
    Column("user_name", make_text_key_type(64), nullable=False),
    Column("target", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("letters_hash", LargeBinary(32), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("ends_at", Float, nullable=False),
    Column("tries_left", Integer, nullable=False),
    Index("step_ups_by_sign_in", "sign_in"),
)
"""See `model.pending_step_up`. Since version 11."""
