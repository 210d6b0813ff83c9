"""The form in which the store keeps secrets."""

import hashlib


def hash_secret(secret: str) -> bytes:
    """Return the SHA-256 (32 bytes) of a token, a cookie, a link's secret or a login's verifier.

    They have at least 128 random bits, so a slow hash would add nothing.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
