"""Password hashes: argon2id (RFC 9106) in PHC strings."""

import base64
import secrets
from functools import cache

import argon2

# RFC 9106 §4, second recommended option (64 MiB, 3 passes), with one lane instead of four: a lane
# is a thread, and `authn.pool` bounds the CPUs in use by counting verifications.
_HASHER = argon2.PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=1)


def hash_password(password: str) -> str:
    """Hash with a fresh salt. Blocks for about 0.15 s, with one CPU and 64 MiB in use."""
    return _HASHER.hash(password)


def verify(password_hash: str, password: str) -> bool:
    """Return whether the hash is of `password`; a damaged hash matches none. Blocks like `hash_password`."""
    try:
        return _HASHER.verify(password_hash, password.encode("utf-8", "surrogatepass"))
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


@cache
def dummy_hash() -> str:
    """Return a hash that no known password matches, with the current parameters.

    Passwords for an unknown name are verified against it, so that they take as long as wrong
    passwords for a known one. It is made of random bytes, so making it costs no hashing.
    """
    salt, digest = (_unpadded(secrets.token_bytes(size)) for size in (16, 32))
    cost = f"m={_HASHER.memory_cost},t={_HASHER.time_cost},p={_HASHER.parallelism}"
    return f"$argon2id$v=19${cost}${salt}${digest}"


def _unpadded(value: bytes) -> str:
    """Encode as PHC strings do: Base64 without `=`."""
    return base64.b64encode(value).decode("ascii").rstrip("=")
