"""Passwords that cost next to nothing.

What the program itself takes, 0.2 s of the processor for each hash, is for tests/authn and for processes that
are not made of the template. A hash names its own cost, so a gateway checks those of the tests as cheaply.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import argon2

from stagedoor.authn import passwords

REAL = passwords._HASHER
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def install() -> None:
    """In this process, from now on."""
    passwords._HASHER = CHEAP


@contextmanager
def using(hasher: argon2.PasswordHasher) -> Iterator[None]:
    """Meanwhile."""
    before, passwords._HASHER = passwords._HASHER, hasher
    passwords.make_dummy_hash.cache_clear()
    try:
        yield
    finally:
        passwords._HASHER = before
        passwords.make_dummy_hash.cache_clear()
