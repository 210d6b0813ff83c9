"""How a worker has certificates signed: by the supervisor, which alone gives them to sign-ins."""

import asyncio
from collections.abc import Callable
from itertools import count

from stagedoor.admin.certificates.certificates import (
    CertificateError,
    NoGrantError,
    TooManyCertificatesError,
)
from stagedoor.serve.supervisor.control import Sign, Signed

STOPPING = "the gateway is stopping; connect again"
ANSWER_S = 20.0
"""Longer than the store and an agent take to say that they do not answer."""


class SupervisorCertificates:
    """The user CA as a worker reaches it, through the supervisor. Belongs to one event loop.

    `tell` writes to the supervisor.
    """

    def __init__(self, tell: Callable[[Sign], None]) -> None:
        self._tell = tell
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[Signed]] = {}
        self._gone = False

    async def sign(self, user: str, sign_in_number: int, public_key: str, ends_at: float) -> str:
        """Raises CertificateError: TooManyCertificatesError where it helps to ask again later, NoGrantError
        where the user may enter no app."""
        if self._gone:
            raise CertificateError(STOPPING)
        request = Sign(next(self._numbers), user, sign_in_number, public_key, ends_at)
        answer: asyncio.Future[Signed] = asyncio.get_running_loop().create_future()
        self._asked[request.id] = answer
        try:
            self._tell(request)
            async with asyncio.timeout(ANSWER_S):
                signed = await answer
        except TimeoutError:
            raise CertificateError("the certificate was not signed in time; try again") from None
        finally:
            del self._asked[request.id]
        if signed.certificate is None:
            if signed.retry_after_s is not None:
                raise TooManyCertificatesError(signed.message, signed.retry_after_s)
            if signed.no_grant:
                raise NoGrantError(signed.message)
            raise CertificateError(signed.message)
        return signed.certificate

    def answered(self, signed: Signed) -> None:
        """From the supervisor. Nobody may wait for it any more."""
        answer = self._asked.get(signed.id)
        if answer is not None and not answer.done():
            answer.set_result(signed)

    def supervisor_gone(self) -> None:
        self._gone = True
        for number in tuple(self._asked):
            self.answered(Signed(number, None, STOPPING))
