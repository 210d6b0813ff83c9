"""Certificates for people's keys: what the login needs of the signer."""

from collections.abc import Callable
from typing import Protocol

from stagedoor.model.denial import Denial
from stagedoor.model.errors import StagedoorError

RefusedKeys = Callable[[str], Denial | None]
"""Why a key, `type base64`, is taken from nobody: it was revoked, or whether it was cannot be told."""


class CertificateError(StagedoorError):
    """No certificate can be had now. The text is for the person, and names no file of the gateway."""


class NoGrantError(CertificateError):
    """The user may enter no app now. Servers that trust the user CA ask nobody else, so none is signed."""


class TooManyCertificatesError(CertificateError):
    """So many were signed that the next one has to wait, for `retry_after_s` seconds."""

    def __init__(self, text: str, retry_after_s: int) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class UserCertificates(Protocol):
    """Signs the keys of people who are signed in."""

    async def sign(self, user: str, sign_in_number: int, public_key: str, ends_at: float) -> str:
        """An OpenSSH user certificate, one line. `public_key` is `type base64`, whose holder the caller knows
        to be `user`; its serial is `sign_in_number`. It ends by `ends_at`, seconds since the epoch, and after
        an hour at the latest. Raises CertificateError."""
        ...
