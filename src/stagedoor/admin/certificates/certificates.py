"""Certificates for users' keys: the interface between logins and the signer."""

from collections.abc import Callable
from typing import Protocol

from stagedoor.model.denial import Denial
from stagedoor.model.errors import StagedoorError

RefusedKeys = Callable[[str], Denial | None]
"""Returns why a key, `type base64`, is refused: it was revoked, or the list cannot be read. Else None."""


class CertificateError(StagedoorError):
    """No certificate can be signed now. The text is for the user, and names no file of the gateway."""


class NoGrantError(CertificateError):
    """The user may enter no app now. Servers that trust the user CA check no grants, so none is signed."""


class TooManyCertificatesError(CertificateError):
    """Too many certificates were signed; the next one has to wait for `retry_after_s` seconds."""

    def __init__(self, text: str, retry_after_s: int) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class UserCertificates(Protocol):
    """Signs the keys of users who are signed in."""

    async def sign(self, user: str, sign_in_number: int, public_key: str, ends_at: float) -> str:
        """Return an OpenSSH user certificate, one line, with the serial `sign_in_number`.

        `public_key` is `type base64`; the caller knows that `user` holds it. The certificate expires at
        `ends_at` (seconds since the epoch), or after an hour if that is earlier. Raises CertificateError.
        """
        ...
