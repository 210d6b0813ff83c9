"""Who we are to the API: a token that is fixed, in a file that is renewed, or had from a program.

A token is never part of a message, a `repr` or an argument list.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from stagedoor.model.errors import SettingsError

TOKEN_FILE_AGE_S = 60.0
"""How old a token that was read from a file may be. The kubelet renews it long before it ends, and
client-go reads it again as often (`NewCachedFileTokenSource`)."""


class CredentialError(Exception):
    """The credential cannot be had just now; `str` says why, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Header:
    """What goes with a request."""

    authorization: str = field(default="", repr=False)
    """The whole value of the Authorization header, "" for none."""


class Credential(Protocol):
    """A source of what proves us, besides a client certificate of the kubeconfig itself."""

    async def header(self) -> Header:
        """For the next request. Raises CredentialError."""
        ...

    async def renew(self, refused: Header) -> bool:
        """The API did not accept `refused`: whether there is another now. Raises CredentialError."""
        ...


@dataclass(frozen=True, slots=True)
class StaticCredential:
    """A token, or a name and password, of a kubeconfig; or nothing but the client certificate."""

    value: Header = field(default_factory=Header)

    async def header(self) -> Header:
        return self.value

    async def renew(self, refused: Header) -> bool:
        return False


class TokenFile:
    """A bearer token in a file that somebody else renews, as in a pod."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises SettingsError if there is none now."""
        self._path = path
        self._clock = clock
        try:
            self._header = self._read()
        except CredentialError as error:
            raise SettingsError(str(error)) from None
        self._read_at = clock()

    async def header(self) -> Header:
        if self._clock() - self._read_at >= TOKEN_FILE_AGE_S:
            await self.renew(self._header)
        return self._header

    async def renew(self, refused: Header) -> bool:
        # A file of a kilobyte in memory (tmpfs) does not need a thread.
        self._read_at = self._clock()
        self._header = self._read()
        return self._header != refused

    def _read(self) -> Header:
        try:
            text = self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not text"
            raise CredentialError(f"cannot read the token in {self._path}: {why}") from None
        if not text:
            raise CredentialError(f"the token file {self._path} is empty")
        return bearer(text, f"the token in {self._path}")


def bearer(token: str, what: str) -> Header:
    """RFC 6750 §2.1. Raises CredentialError for what cannot stand in a header."""
    if not token.isascii() or not token.isprintable() or " " in token:
        raise CredentialError(f"{what} is no bearer token: it holds spaces or unprintable bytes")
    return Header(f"Bearer {token}")


@dataclass(frozen=True, slots=True)
class Impersonation:
    """Whom to act as (`as`, `as-uid`, `as-groups`, `as-user-extra` of a kubeconfig's user)."""

    user: str = ""
    uid: str = ""
    groups: Sequence[str] = ()
    extra: Sequence[tuple[str, str]] = ()

    def headers(self) -> list[tuple[str, str]]:
        """Kubernetes: Authenticating, "User impersonation"."""
        found = [("Impersonate-User", self.user)] if self.user else []
        found += [("Impersonate-Uid", self.uid)] if self.uid else []
        found += [("Impersonate-Group", group) for group in self.groups]
        return found + [(f"Impersonate-Extra-{key}", value) for key, value in self.extra]
