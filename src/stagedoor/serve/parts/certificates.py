"""Certificates for a worker, which the supervisor signs."""

import asyncio
from collections.abc import Callable
from itertools import count

from stagedoor.admin.certificates.user_signer import (
    CertificateError,
    NoGrantError,
    TooManyCertificatesError,
)
from stagedoor.model.session import CONNECT_AGAIN
from stagedoor.serve.supervisor.control import Sign, Signed

ANSWER_S = 20.0
"""Seconds to wait for an answer: longer than the timeouts of the store and of an agent."""


class SupervisorCertificates:
    """The user CA, as a worker reaches it through the supervisor. Belongs to one event loop.

    `send` writes a request to the supervisor.
    """

    def __init__(self, send: Callable[[Sign], None]) -> None:
        self._send = send
        self._numbers = count(1)
        self._pending: dict[int, asyncio.Future[Signed]] = {}
        self._is_stopping = False

    async def sign(self, user: str, sign_in_number: int, public_key: str, ends_at: float) -> str:
        """Have a certificate signed for `public_key`, valid until `ends_at` (seconds since the epoch).

        Raises CertificateError: as TooManyCertificatesError if a later request may succeed, as NoGrantError
        if the user may enter no app.
        """
        if self._is_stopping:
            raise CertificateError(CONNECT_AGAIN)
        request = Sign(next(self._numbers), user, sign_in_number, public_key, ends_at)
        answer: asyncio.Future[Signed] = asyncio.get_running_loop().create_future()
        self._pending[request.id] = answer
        try:
            self._send(request)
            async with asyncio.timeout(ANSWER_S):
                signed = await answer
        except TimeoutError:
            raise CertificateError("the certificate was not signed in time; try again") from None
        finally:
            del self._pending[request.id]
        if signed.certificate is None:
            if signed.retry_after_s is not None:
                raise TooManyCertificatesError(signed.message, signed.retry_after_s)
            if signed.no_grant:
                raise NoGrantError(signed.message)
            raise CertificateError(signed.message)
        return signed.certificate

    def resolve(self, signed: Signed) -> None:
        """Pass the supervisor's answer to its request, if that still waits."""
        answer = self._pending.get(signed.id)
        if answer is not None and not answer.done():
            answer.set_result(signed)

    def fail_all(self) -> None:
        """Refuse all pending and later requests, since the supervisor has ended."""
        self._is_stopping = True
        for number in tuple(self._pending):
            self.resolve(Signed(number, None, CONNECT_AGAIN))
