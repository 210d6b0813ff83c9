"""Small secrets encrypted with a key of the gateway, for storage elsewhere: AES-256-GCM (RFC 5116)."""

import os
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from stagedoor.keys.files import KeyFileError, read_private_file, write_private_file

KEY_BYTES = 32
_NONCE_BYTES = 12


class SealingKey:
    """A key that encrypts for a purpose: the result cannot be decrypted for another purpose.

    Each purpose has its own key, derived by HKDF (RFC 5869), so that random nonces do not collide.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, purpose: str, data: bytes) -> str:
        """Return `data` encrypted, as text for a cookie: base64url of nonce, cipher text and tag."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._cipher(purpose).encrypt(nonce, data, None)
        return urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, purpose: str, text: str) -> bytes | None:
        """Return the decrypted data, or None if this key did not seal `text` for this purpose."""
        try:
            sealed = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
            nonce, cipher = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            return self._cipher(purpose).decrypt(nonce, cipher, None)
        except (ValueError, InvalidTag):
            return None

    def _cipher(self, purpose: str) -> AESGCM:
        derived = HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose.encode()).derive(self._key)
        return AESGCM(derived)


def load_or_create_sealing_key(path: Path) -> SealingKey:
    """Return the key in the file at `path`, which is created if there is none. Raises KeyFileError."""
    content = read_private_file(path)
    if content is None:
        write_private_file(path, os.urandom(KEY_BYTES))
        content = read_private_file(path)
    if content is None or len(content) != KEY_BYTES:
        raise KeyFileError(
            f"the key {path} is not {KEY_BYTES} bytes; remove it and a new one is made: "
            "people who are signing in at this moment have to begin again"
        )
    return SealingKey(content)
