"""The checks of names, passwords, patterns and scopes that people and administrators give."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from stagedoor.authn.tokens import parse_token_id
from stagedoor.model.errors import RefusedError
from stagedoor.model.name import FORM, is_valid_name
from stagedoor.model.role import ApiScope
from stagedoor.model.selector import ALL_USERS, TargetPattern

MIN_PASSWORD_CHARS = 8
MAX_PASSWORD_CHARS = 1024
LATEST_S = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
"""Python's calendar has no year 10000, which begins in some zone before it does in UTC."""
_PATTERN = re.compile(r"(?:[a-z0-9*?-]|\[!?[a-z0-9-]+\]){1,100}", re.ASCII)


def check_subject(subject: str) -> None:
    """Raise RefusedError unless `subject` is `user:NAME`, `group:NAME` or all users."""
    if subject == ALL_USERS:
        return
    kind, colon, name = subject.partition(":")
    if not colon:
        raise RefusedError(
            f"{subject!r} does not say who: write user:{subject} or group:{subject}, or {ALL_USERS}"
        )
    if kind not in ("user", "group"):
        raise RefusedError(f"{subject!r} is not user:NAME, group:NAME or {ALL_USERS}")
    check_name(name, kind)


def check_name(name: str, kind: str) -> None:
    """Raise RefusedError unless `name` is a valid name for a user or a group.

    A name has lower case only, so that no two names look alike, and no colon, which ends the name in HTTP
    Basic (RFC 7617 §2).
    """
    if not is_valid_name(name):
        raise RefusedError(f"{name!r} is not a {kind} name: {FORM}")


def check_groups(names: Iterable[str]) -> frozenset[str]:
    """Return the names of groups as a set. Raises RefusedError for one that is not valid."""
    groups = frozenset(names)
    for name in groups:
        check_name(name, "group")
    return groups


def hash_new_password(password: str) -> str:
    """Check a new password and return its argon2 hash, which takes time to compute.

    Raises RefusedError, whose text never repeats the password.
    """
    # Imported here, because argon2 and asyncio would cost a command that only lists a tenth of its time.
    from stagedoor.authn.passwords import hash_password

    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        raise RefusedError(
            f"a password has {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters; "
            f"this one has {len(password)}"
        )
    if not password.isprintable():
        raise RefusedError("a password holds no control characters; this one does")
    if parse_token_id(password) is not None:
        raise RefusedError("this is a token; a password of that form could not be used")
    return hash_password(password)


def check_pattern(pattern: TargetPattern) -> None:
    """Raise RefusedError unless `pattern` is one for the names of apps and environments."""
    for text, kind in ((pattern.app, "app"), (pattern.environment, "environment")):
        if not _PATTERN.fullmatch(text):
            raise RefusedError(
                f"{text!r} is not a pattern for an {kind}: use a-z, 0-9, '-', and '*', '?' or '[a-z]' "
                "for what may vary"
            )


def check_end(expires_at: float | None, now: float) -> None:
    """Raise RefusedError for an end that is over at `now`, and for one that no list could show."""
    if expires_at is None:
        return
    if expires_at <= now:
        raise RefusedError("it would end before it begins; give a time in the future")
    if expires_at >= LATEST_S:
        raise RefusedError("it would end after the year 9998; leave the end out")


def check_scope(scope: str) -> None:
    """Raise RefusedError unless `scope` is a scope of a token: `connect:APP.ENVIRONMENT`, or of the API."""
    if scope in frozenset(ApiScope):
        return
    action, colon, pattern = scope.partition(":")
    app, dot, environment = pattern.partition(".")
    if (
        action != "connect"
        or (colon and not _PATTERN.fullmatch(app))
        or (dot and not _PATTERN.fullmatch(environment))
    ):
        raise RefusedError(
            f"{scope!r} is not a scope: use connect, connect:APP or connect:APP.ENVIRONMENT, "
            "where both may be patterns (connect:app*.staging), or api:read, api:write or request"
        )
