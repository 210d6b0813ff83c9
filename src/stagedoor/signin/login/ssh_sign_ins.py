"""Sign-ins of users who log in by SSH: binding their keys, certifying them, and logging out."""

from collections.abc import Callable, Iterable
from contextlib import suppress

from stagedoor.admin.asking import ask
from stagedoor.admin.certificates.revocation import RefusedKeys
from stagedoor.admin.certificates.user_signer import (
    CertificateError,
    NoGrantError,
    TooManyCertificatesError,
    UserCertificates,
)
from stagedoor.admin.context import WorkerContext
from stagedoor.authz.decide import check_credential
from stagedoor.model.credential import UnknownKey
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import NotFoundError
from stagedoor.model.identity import Identity
from stagedoor.model.target import Target
from stagedoor.signin.login.key_binding import KeyBinding
from stagedoor.store.sign_in import passes
from stagedoor.wire.target import may_name_app, parse_login

LOGGED_OUT = "you logged out by ssh; sign in again to come back"
_NO_SIGN_IN = Denial(
    Reason.BAD_REQUEST,
    "you came by a key or password that an administrator gave you, and not by a sign-in",
)


class SshSignInService:
    """Implements `listeners.ssh.login.SshSignIns`. Belongs to one event loop."""

    def __init__(
        self,
        context: WorkerContext,
        apps: Callable[[], Iterable[Target]],
        certificates: UserCertificates,
        refused: RefusedKeys,
    ) -> None:
        self._context = context
        self._apps = apps
        self._certificates = certificates
        self._refused = refused
        self._binding = KeyBinding(context)

    def holds(self, public_key: str) -> bool:
        """Return whether a connection with this unknown key may wait until its user signs in."""
        return self._binding.is_possible and self._refused(public_key) is None

    async def bind(self, key: UnknownKey, show: Callable[[str], None]) -> Denial | None:
        """Bind the key once its user has signed in. `show` shows the instructions in the terminal."""
        return await self._binding.bind(key, self._wanted_user(key.login_name), show)

    def _wanted_user(self, name: str) -> str | None:
        """Return the only user who may approve a login as `name`, or None if any user may.

        A name that an app and a user share means the app. Otherwise that user would keep the new keys of all
        other users out of the app.
        """
        if may_name_app(name, self._apps()):
            return None
        is_user = name in self._context.policy().all_users or parse_login(name) is None
        return name if is_user else None

    async def certificate(self, identity: Identity, public_key: str) -> str | Denial:
        """Return an OpenSSH user certificate for the key of the identity's sign-in, one line."""
        sign_in = identity.sign_in
        if sign_in is None:
            return _NO_SIGN_IN
        # The connection may be older than a change that ended its sign-in.
        ends_at = check_credential(self._context.policy(), identity, self._context.now())
        if isinstance(ends_at, Denial):
            return ends_at
        assert ends_at is not None, "a sign-in ends"
        try:
            return await self._certificates.sign(identity.name, sign_in.number, public_key, ends_at)
        except TooManyCertificatesError as error:
            return Denial(Reason.THROTTLED, str(error), error.retry_after_s)
        except NoGrantError as error:
            return Denial(Reason.NO_GRANT, str(error))
        except CertificateError as error:
            return Denial(Reason.BAD_REQUEST, str(error))

    async def log_out(self, identity: Identity) -> Denial | None:
        """End the identity's sign-in, and all that it opened."""
        sign_in = identity.sign_in
        if sign_in is None:
            return _NO_SIGN_IN

        def end() -> None:
            with (
                suppress(NotFoundError),
                self._context.change(identity.name, "ssh.logout", by="ssh", revokes=True) as change,
            ):
                now = self._context.now()
                passes.end_sign_in(change.transaction, sign_in.id, LOGGED_OUT, now)
                change.fields |= {"user": identity.name, "sign_in": str(sign_in.number)}

        return await ask(end)

    def ends_at(self, identity: Identity) -> float | None:
        """Return the end of the identity's sign-in in seconds since the epoch; None without a sign-in."""
        sign_in = identity.sign_in
        return None if sign_in is None else self._context.policy().end_of(sign_in)

    def groups(self, identity: Identity) -> tuple[str, ...]:
        """Return the names of the user's groups, sorted."""
        user = self._context.policy().users.get(identity.name)
        return tuple(sorted(user.groups)) if user else ()
