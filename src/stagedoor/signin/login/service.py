"""`stagedoor login`, the machine's side: it begins a login, waits for approval, and gets a certificate."""

import secrets
from contextlib import suppress
from dataclasses import dataclass, field

from stagedoor.admin.blocking import call_blocking
from stagedoor.admin.certificates.revocation import RefusedKeys
from stagedoor.admin.certificates.user_signer import (
    CertificateError,
    NoGrantError,
    UserCertificates,
)
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.sign_ins import show_id
from stagedoor.keys.signing import find_signing_key
from stagedoor.model import pending_login
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import NotFoundError, RefusedError
from stagedoor.model.pending_login import LOGIN_OVER, LOGIN_PENDING_S, LoginState, PendingLogin
from stagedoor.model.rate import Rate
from stagedoor.model.source import Source, find_source_network
from stagedoor.model.units import MINUTE_S
from stagedoor.model.webpass import KeyLogin, SignInPass
from stagedoor.signin.login.approval import make_certificate_denial, open_approved, submit
from stagedoor.signin.passes import PassService
from stagedoor.signin.source_limit import START_RATE, SourceLimit
from stagedoor.store.sign_in import logins, passes, pending_logins
from stagedoor.wire.oneline import fold

NAMESPACE = "login@stagedoor"
"""The namespace of the signatures, so that a signature for another purpose is refused here."""
MAX_LABEL_CHARS = 64
CLOCK_S = 5 * MINUTE_S
"""How far a client's clock may differ from the gateway's. A signature can renew its own key for this time."""
RETRY_S = 10
POLL_RATE = Rate(burst=600, interval_s=0.02)
"""The polls from one source, which may be an office. Each waiting login polls five times a second for three
minutes."""
NO_CERTIFICATES = Denial.with_fix(
    Reason.OVERLOADED,
    "certificates are not set up on this gateway, so `stagedoor login` cannot be used",
    "keys.user_ca_file",
    "ask an administrator to set them up",
)
_NO_LOGIN = Denial(
    Reason.CREDENTIAL_WRONG, "no login with this key is valid; log in with: stagedoor login"
)


@dataclass(frozen=True, slots=True)
class LoginResult:
    """The result of a login or renewal for the machine.

    `secret` is None if the machine has it already. `certificate` is None if none is signed now: `why` is
    then the reason, and `no_grant` is true if the user may enter no app. `ends_at` is the sign-in's end in
    seconds since the epoch.
    """

    user: str
    ends_at: float
    secret: str | None = field(repr=False)
    certificate: str | None
    why: str = ""
    no_grant: bool = False


class LoginService:
    """The machine's side of a login. Belongs to one event loop.

    It uses the store in a thread; a store that fails is a Denial.
    """

    def __init__(
        self,
        context: WorkerContext,
        passes: PassService,
        certificates: UserCertificates | None,
        refused: RefusedKeys,
    ) -> None:
        self._context = context
        self._passes = passes
        self._certificates = certificates
        self._refused = refused
        complaint = "too many logins come from your {}"
        self._beginnings = SourceLimit(START_RATE, complaint, context.now)
        self._polls = SourceLimit(POLL_RATE, complaint, context.now)

    @property
    def is_possible(self) -> bool:
        """Return whether this gateway certifies keys."""
        return self._certificates is not None

    async def begin(
        self,
        origin: str,
        challenge: bytes,
        signature: str,
        label: str,
        port: int | None,
        source: Source,
    ) -> PendingLogin | Denial:
        """Begin a login for the key that signed `make_login_text`. It waits for approval."""
        if self._certificates is None:
            return NO_CERTIFICATES
        if (denial := self._beginnings.take(source)) is not None:
            return denial
        key = find_signing_key(signature, NAMESPACE, make_login_text(origin, challenge))
        if key is None:
            return Denial(
                Reason.BAD_REQUEST,
                f"the signature is not valid for {origin}: log in with the address that is configured for "
                "this gateway (behind a reverse proxy: Host and X-Forwarded-Proto have to be passed on)",
            )
        if (denial := self._refused(key.line)) is not None:
            return denial
        now = self._context.now()
        login = PendingLogin(
            secrets.token_urlsafe(16),
            challenge,
            key.line,
            key.fingerprint,
            b"",
            find_source_network(source.address),
            fold(label)[:MAX_LABEL_CHARS] or "a machine without a name",
            port,
            now,
            now + LOGIN_PENDING_S,
        )
        return await submit(self._context, login) or login

    async def poll(
        self, id_: str, verifier: str, code: str | None, gateway: str, source: Source
    ) -> LoginResult | LoginState | Denial:
        """Return the outcome of a login to its client. WAITING includes an approval whose code is missing.

        `gateway` is the address that the client asked at; the letters are bound to it.
        """
        if (denial := self._polls.take(source)) is not None:
            return denial
        opened = await call_blocking(self._open_if_approved, id_, verifier, code, gateway)
        if isinstance(opened, LoginState | Denial):
            return opened
        secret, login = opened
        assert self._certificates is not None, "no login begins without"
        return await certify_new(self._certificates, login, secret)

    def _open_if_approved(
        self, id_: str, verifier: str, code: str | None, gateway: str
    ) -> tuple[str, KeyLogin] | LoginState:
        """Open the sign-in of an approved login, and return it with its secret.

        Raises RefusedError, NotFoundError. Runs in a thread.
        """
        login, now = pending_logins.find(self._context.database, id_), self._context.now()
        # The same words for an unknown login and for one of another client: an id is no secret.
        if login is None or not pending_login.has_verifier(login, verifier):
            raise RefusedError(LOGIN_OVER)
        state = login.find_state(now)
        if state is LoginState.DENIED:
            return LoginState.DENIED
        if state is None or state is LoginState.SPENT:
            raise RefusedError(LOGIN_OVER)
        if not pending_login.is_due(login, now, code):
            self._keep_letters(login, pending_login.derive_letters(login, gateway, verifier))
            return LoginState.WAITING
        if (denial := self._refused(login.public_key)) is not None:
            raise RefusedError(denial.message)
        return open_approved(self._context, login, LOGIN_OVER)

    def _keep_letters(self, login: PendingLogin, derived: PendingLogin) -> None:
        """Store the letters of a login at its client's first poll. Raises StoreError.

        If the row has just changed, the client's next poll stores them.
        """
        if derived is not login:
            with self._context.database.write() as transaction:
                pending_logins.change(transaction, login, derived)

    async def renew(
        self, origin: str, at: int, nonce: str, signature: str, source: Source
    ) -> LoginResult | Denial:
        """Return a new certificate for the key that signed `make_renewal_text` and whose login is active.

        `at` is the client's time in seconds since the epoch; `nonce` is chosen by the client.
        """
        if self._certificates is None:
            return NO_CERTIFICATES
        if (denial := self._polls.take(source)) is not None:
            return denial
        key = find_signing_key(signature, NAMESPACE, make_renewal_text(origin, at, nonce))
        if key is None:
            return Denial(Reason.CREDENTIAL_WRONG, f"the signature is not valid for {origin}")
        if (denial := self._refused(key.line)) is not None:
            return denial
        ahead_s = at - self._context.now()
        if abs(ahead_s) > CLOCK_S:
            direction = "ahead" if ahead_s > 0 else "behind"
            return Denial(
                Reason.BAD_REQUEST,
                f"your clock is {abs(ahead_s) / MINUTE_S:.0f} min {direction} of the gateway's; set it",
            )
        current = await call_blocking(
            logins.find_sign_in_of_key, self._context.database, key.fingerprint, self._context.now()
        )
        if current is None or isinstance(current, Denial):
            return current or _NO_LOGIN
        identity = await self._passes.identify(current)
        if isinstance(identity, Denial):
            return identity
        login = await call_blocking(self._passes.extend, current)
        if login is None or isinstance(login, Denial):
            return login or _NO_LOGIN
        try:
            return await _certify(self._certificates, login, key.line, None)
        except CertificateError as error:
            return make_certificate_denial(error, Denial(Reason.OVERLOADED, str(error), RETRY_S))

    async def read_state(self, secret: str, source: Source) -> LoginResult | Denial:
        """Return the user and the end of the login with that secret, without a certificate."""
        if (denial := self._polls.take(source)) is not None:
            return denial
        login = await call_blocking(passes.find, self._context.database, KeyLogin, secret)
        if login is None or isinstance(login, Denial):
            return login or _NO_LOGIN
        identity = await self._passes.identify(login)
        if isinstance(identity, Denial):
            return identity
        return LoginResult(login.name, login.expires_at, None, None)

    async def log_out(self, secret: str, source: Source) -> Denial | None:
        """End the login with that secret, and all that it opened; do nothing if there is none."""
        if (denial := self._polls.take(source)) is not None:
            return denial

        def end() -> None:
            login = passes.find(self._context.database, KeyLogin, secret)
            if login is None:
                return
            with (
                suppress(NotFoundError),
                self._context.change(login.name, "logout", revokes=True) as change,
            ):
                why = "you logged out on this machine; log in again with: stagedoor login"
                passes.end_sign_in(change.transaction, login.id, why, self._context.now())
                change.fields |= {"user": login.name, "sign_in": show_id(login.id)}

        return await call_blocking(end)


def make_login_text(origin: str, challenge: bytes) -> bytes:
    """Return the text that a client signs to begin; it is valid only for this gateway and this login."""
    return f"stagedoor login\n{origin}\n{challenge.hex()}\n".encode()


def make_renewal_text(origin: str, at: int, nonce: str) -> bytes:
    """Return the text that a client signs to have its key certified again."""
    return f"stagedoor renew\n{origin}\n{at}\n{nonce}\n".encode()


async def certify_new(certificates: UserCertificates, login: KeyLogin, secret: str) -> LoginResult:
    """Return the result of a new login: with a certificate for its key, or with why none is signed."""
    try:
        return await _certify(certificates, login, login.public_key, secret)
    except CertificateError as error:
        no_grant = isinstance(error, NoGrantError)
        return LoginResult(login.name, login.expires_at, secret, None, str(error), no_grant)


async def _certify(
    certificates: UserCertificates, login: SignInPass, public_key: str, secret: str | None
) -> LoginResult:
    """Return the result of a login with a certificate for its key. Raises CertificateError."""
    ends_at = login.expires_at
    certificate = await certificates.sign(login.name, login.sign_in.number, public_key, ends_at)
    return LoginResult(login.name, ends_at, secret, certificate)
