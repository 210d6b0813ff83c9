"""Passwords at rest: argon2id (RFC 9106) in PHC strings."""

import base64
import secrets
from functools import cache

import argon2

# RFC 9106 §4, second recommended option (64 MiB, 3 passes), with one lane instead of four: a lane
# is a thread, and the pool that verifies bounds CPUs by counting verifications.
_HASHER = argon2.PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=1)


def hash_password(password: str) -> str:
    """Hash with a fresh salt; costs about 0.15 s of one CPU and 64 MiB while it runs."""
    return _HASHER.hash(password)


def verify(password_hash: str, password: str) -> bool:
    """Whether `password` is the one hashed; a damaged hash is never matched. Blocks as above."""
    try:
        return _HASHER.verify(password_hash, password.encode("utf-8", "surrogatepass"))
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


@cache
def dummy_hash() -> str:
    """A hash that no known password matches, with today's parameters.

    Verified against for an unknown name, so that it costs the time of a wrong password. It is
    random bytes in the form of a hash, so it costs nothing to make.
    """
    salt, digest = (_unpadded(secrets.token_bytes(size)) for size in (16, 32))
    cost = f"m={_HASHER.memory_cost},t={_HASHER.time_cost},p={_HASHER.parallelism}"
    return f"$argon2id$v=19${cost}${salt}${digest}"


def _unpadded(value: bytes) -> str:
    """Base64 as PHC strings have it, without `=`."""
    return base64.b64encode(value).decode("ascii").rstrip("=")
