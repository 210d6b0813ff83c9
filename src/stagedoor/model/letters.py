"""The eight letters that a terminal shows and a person types into a page (RFC 8628 §5.4).

This module runs on Python 3.8 or later: the one-file client derives the letters of its login with it,
as the gateway does.
"""

from __future__ import annotations

import hashlib

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""There are no vowels, so that no words appear, and no digits, which can resemble letters (RFC 8628
§6.1)."""
LETTERS_COUNT = 8
"""Eight letters have 34 bits, so five guesses succeed with a probability of 1 in 5,000 million."""


def choose_letters(random: bytes) -> str:
    """Return `LETTERS_COUNT` letters, each chosen by eight of the 64 bytes in `random`."""
    if len(random) != 8 * LETTERS_COUNT:
        raise ValueError("64 random bytes make the letters")
    parts = [random[at : at + 8] for at in range(0, len(random), 8)]
    return "".join(LETTERS[int.from_bytes(part, "big") % len(LETTERS)] for part in parts)


def derive_login_letters(gateway: str, login: str, fingerprint: str, verifier: str) -> str:
    """Return the letters of a `stagedoor login`. The client and the gateway each derive them.

    `gateway` is the gateway's address, as the client got it and as the browser shows it
    (`https://gw.example/path`), `login` the login's id, and `fingerprint` the key's `SHA256:…`. The
    client commits to `verifier` by its SHA-256 before the gateway chooses the id, and reveals it to the
    gateway afterwards. So a gateway between the client and another gateway cannot choose the letters
    that either shows (RFC 6189 §4.4.1.1, hash commitment), and the letters of its visitor are useless
    at another gateway.
    """
    text = "\n".join(("stagedoor letters", gateway, login, fingerprint, verifier))
    return choose_letters(hashlib.sha512(text.encode("utf-8", "surrogatepass")).digest())


def show_letters(letters: str) -> str:
    """Return letters in the form that a terminal shows: `BCDF-GHJK`."""
    return f"{letters[:4]}-{letters[4:]}"


def hash_letters(login: str, letters: str, gateway: str = "") -> bytes:
    """Return the 32-byte digest of letters that the store keeps. Case, blanks and dashes do not count.

    `gateway` is the address of the page where they are typed, if they are bound to one.
    """
    plain = "".join(letters.split()).replace("-", "").upper()
    text = f"{login} {plain} {gateway}".rstrip()
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
