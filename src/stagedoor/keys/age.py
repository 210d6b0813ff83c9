"""Encryption of recordings for age recipients (https://age-encryption.org/v1).

A recording is a sequence of pieces, each an armoured age file of its own. So everything written before a
power cut can be decrypted, the recording gateway has no key to decrypt with, and the `age` program can
decrypt each piece without Stagedoor.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyrage

from stagedoor.model.errors import StagedoorError

SUFFIX = ".age"
_BEGIN = b"-----BEGIN AGE ENCRYPTED FILE-----"
_END = b"-----END AGE ENCRYPTED FILE-----"
_LINE_LIMIT = 256
"""The maximum length of a line in bytes; armour has lines of 64 characters."""
_PIECE_LIMIT = 32 * 1024 * 1024

Recipient = pyrage.x25519.Recipient | pyrage.ssh.Recipient
Identity = pyrage.x25519.Identity | pyrage.ssh.Identity


class AgeSeal:
    """The implementation of `recording.asciicast_file.Seal`.

    `recipients` are `age1…` or OpenSSH public keys (ssh-ed25519, ssh-rsa); any of their private keys
    can decrypt. Raises StagedoorError for any other recipient.
    """

    suffix = SUFFIX

    def __init__(self, recipients: Sequence[str]) -> None:
        self._recipients = [_recipient(text) for text in recipients]
        if not self._recipients:
            raise StagedoorError("recordings cannot be sealed without a recipient")

    def seal(self, plain: bytes) -> bytes:
        """Return `plain` encrypted, as one armoured piece."""
        armour: bytes = pyrage.encrypt(plain, self._recipients, armored=True)
        return armour if armour.endswith(b"\n") else armour + b"\n"


class AgeOpener:
    """Decrypts pieces from `AgeSeal`.

    `files` hold age identities (as `age-keygen` writes them) or one OpenSSH private key without a
    passphrase each. Raises StagedoorError.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._identities = [identity for file in files for identity in _identities(file)]

    def open(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the decrypted bytes of `pieces`, which may be split anywhere.

        An incomplete last piece is skipped. Raises StagedoorError if no key fits, or if a piece was
        modified.
        """
        for number, armour in enumerate(_armours(pieces), start=1):
            try:
                yield pyrage.decrypt(armour, self._identities)
            except pyrage.DecryptError as error:
                raise StagedoorError(
                    f"piece {number} of the recording cannot be opened: {error}; "
                    "name the file with the recipient's private key with --identity"
                    if number == 1
                    else f"piece {number} of the recording was changed: {error}"
                ) from None


def _recipient(text: str) -> Recipient:
    words = text.split()
    try:
        if text.startswith("age1"):
            return pyrage.x25519.Recipient.from_str(text)
        return pyrage.ssh.Recipient.from_str(" ".join(words[:2]))
    except pyrage.RecipientError:
        raise StagedoorError(
            f"{text!r} is not an age recipient: write an age1… key (age-keygen prints it) or an "
            "OpenSSH public key of type ssh-ed25519 or ssh-rsa"
        ) from None


def _identities(file: Path) -> Iterator[Identity]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise StagedoorError(f"cannot read the identity file {file}: {error.strerror}") from None
    try:
        if content.startswith(b"-----BEGIN"):
            yield pyrage.ssh.Identity.from_buffer(content)
            return
        lines = [line.strip() for line in content.decode("ascii").splitlines()]
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise StagedoorError(f"there is no key in the identity file {file}")
        for key in keys:
            yield pyrage.x25519.Identity.from_str(key)
    except (pyrage.IdentityError, UnicodeDecodeError):
        # Not the library's message, which could contain a part of the key.
        raise StagedoorError(
            f"{file} is not an identity file: it holds what age-keygen wrote, or an OpenSSH private "
            "key without a passphrase"
        ) from None


def _armours(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield complete armoured files. An incomplete file at the end is skipped."""
    rest = b""
    armour: list[bytes] = []
    size = 0
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > _LINE_LIMIT:
            raise StagedoorError("this is not a sealed recording")
        for line in lines:
            if not armour and line != _BEGIN:
                if line.strip():
                    raise StagedoorError("this is not a sealed recording, or it was changed")
                continue
            armour.append(line)
            size += len(line) + 1
            if size > _PIECE_LIMIT:
                raise StagedoorError("this is not a sealed recording: a piece never ends")
            if line == _END:
                yield b"\n".join(armour) + b"\n"
                armour, size = [], 0
