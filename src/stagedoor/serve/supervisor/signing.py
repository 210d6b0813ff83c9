"""Signs certificates for sign-ins, in the only process of a gateway that does so: the supervisor.

Workers send requests over the control channel (`control`). A thread checks, audits and signs them one after
another.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from stagedoor.admin.certificates.user_signer import (
    CertificateError,
    NoGrantError,
    TooManyCertificatesError,
    UserSigner,
)
from stagedoor.model.denial import Denial
from stagedoor.model.errors import StagedoorError, StoreError
from stagedoor.serve.supervisor.control import Sign, Signed
from stagedoor.settings.settings import Settings

WAITING = 1000
"""The most requests that may wait. A signature takes a few milliseconds, most of them for the audit."""
BUSY_S = 5
_BUSY = "the gateway has too many certificates to sign now; try again in a moment"


class SigningService:
    """A service that signs certificates in its own thread. Belongs to one event loop.

    `open_signer` is called in the thread at the first request. It may raise StagedoorError.
    """

    def __init__(self, open_signer: Callable[[Settings], UserSigner] = UserSigner.open) -> None:
        self._open_signer = open_signer
        self._settings: Settings | None = None
        self._signer: UserSigner | None = None
        self._thread = ThreadPoolExecutor(1, "signing")
        self._waiting = 0
        self._closed = False
        self._log = structlog.get_logger()

    def apply_settings(self, settings: Settings) -> None:
        """Sign with these settings from now on."""
        self._thread.submit(self._apply_settings, settings)

    async def answer(self, request: Sign) -> Signed:
        """Sign a certificate, or return why it is refused. Raises nothing."""
        if self._waiting >= WAITING:
            return Signed(request.id, None, _BUSY, BUSY_S)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._answer, request)
        finally:
            self._waiting -= 1

    def close_store(self) -> None:
        """Close the store after the waiting requests. May be called again."""
        if self._closed:
            return
        self._closed = True
        self._thread.submit(self._close_signer)
        self._thread.shutdown()

    # The methods below run in the thread.

    def _apply_settings(self, settings: Settings) -> None:
        if settings != self._settings:
            self._close_signer()
            self._settings = settings

    def _close_signer(self) -> None:
        if self._signer is not None:
            self._signer.close_store()
            self._signer = None

    def _answer(self, request: Sign) -> Signed:
        try:
            assert self._settings is not None, "no worker runs before there are settings"
            if self._signer is None:
                self._signer = self._open_signer(self._settings)
            certificate = self._signer.sign(
                request.user, request.sign_in, request.public_key, request.ends_at
            )
            return Signed(request.id, certificate)
        except TooManyCertificatesError as error:
            return Signed(request.id, None, str(error), error.retry_after_s)
        except NoGrantError as error:
            return Signed(request.id, None, str(error), no_grant=True)
        except CertificateError as error:
            return Signed(request.id, None, str(error))
        except StoreError as error:
            self._log.error("a certificate was not signed", reason=str(error))
            return Signed(request.id, None, error.public)
        except StagedoorError as error:
            self._log.error("a certificate was not signed", reason=str(error))
            return Signed(
                request.id, None, "the gateway's user CA does not sign now; its log says why"
            )
        except Exception as error:  # a bug in Stagedoor must not leave a developer waiting
            self._log.error("a certificate was not signed", exc_info=error)
            return Signed(request.id, None, Denial.of_fault().message)
