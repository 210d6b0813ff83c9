"""The credentials for the API: a fixed token, or a token in a file that is renewed.

`plugin` gets credentials from a program. A token never appears in a message, a `repr` or an argument list.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from stagedoor.kube.wire import NoApiAnswerError
from stagedoor.model.errors import SettingsError

TOKEN_FILE_AGE_S = 60.0
"""The age at which a token file is read again, as in client-go (`NewCachedFileTokenSource`). The kubelet
renews the token long before it expires."""


class CredentialError(NoApiAnswerError):
    """There is no credential for a request at the moment. `str` is the reason, and contains no secret."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header that authenticates a request."""

    authorization: str = field(default="", repr=False)
    """The whole value of the Authorization header; "" for none."""


class Credential(Protocol):
    """A source of credentials, other than a client certificate in the kubeconfig itself."""

    async def make_header(self) -> Header:
        """Return the header for the next request. Raises CredentialError."""
        ...

    async def renew(self, refused: Header) -> bool:
        """Renew the credential after the API has refused one, and return whether it differs from `refused`.

        Raises CredentialError.
        """
        ...


@dataclass(frozen=True, slots=True)
class StaticCredential:
    """A token or a name and password from a kubeconfig, or nothing if there is just a client certificate."""

    value: Header = field(default_factory=Header)

    async def make_header(self) -> Header:
        """Return the fixed header."""
        return self.value

    async def renew(self, refused: Header) -> bool:
        """Return False, since the credential never changes."""
        return False


class TokenFile:
    """A bearer token in a file that another program renews, as the kubelet does in a pod."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the token. Raises SettingsError if there is none."""
        self._path = path
        self._clock = clock
        try:
            self._header = self._read()
        except CredentialError as error:
            raise SettingsError(str(error)) from None
        self._read_at = clock()

    async def make_header(self) -> Header:
        """Return the header, after reading an old token again. Raises CredentialError."""
        if self._clock() - self._read_at >= TOKEN_FILE_AGE_S:
            await self.renew(self._header)
        return self._header

    async def renew(self, refused: Header) -> bool:
        """Read the token again, and return whether it differs from `refused`. Raises CredentialError."""
        # A kilobyte from a file in memory (tmpfs) needs no thread.
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
        return make_bearer(text, f"the token in {self._path}")


def make_bearer(token: str, what: str) -> Header:
    """Return the header for a bearer token (RFC 6750 §2.1).

    Raises CredentialError if the token cannot be part of a header; the message calls it `what`.
    """
    if not token.isascii() or not token.isprintable() or " " in token:
        raise CredentialError(f"{what} is not a bearer token: it holds spaces or unprintable bytes")
    return Header(f"Bearer {token}")


@dataclass(frozen=True, slots=True)
class Impersonation:
    """The user to act as (`as`, `as-uid`, `as-groups`, `as-user-extra` of a kubeconfig's user)."""

    user: str = ""
    uid: str = ""
    groups: Sequence[str] = ()
    extra: Sequence[tuple[str, str]] = ()

    def make_headers(self) -> list[tuple[str, str]]:
        """Return the headers of an impersonation (Kubernetes: Authenticating, "User impersonation")."""
        headers = [("Impersonate-User", self.user)] if self.user else []
        headers += [("Impersonate-Uid", self.uid)] if self.uid else []
        headers += [("Impersonate-Group", group) for group in self.groups]
        return headers + [(f"Impersonate-Extra-{key}", value) for key, value in self.extra]
