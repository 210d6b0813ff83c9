"""`stagedoor login`, the user's side: a signed-in user approves or denies a machine's login on a page."""

import secrets
from collections.abc import Callable

from stagedoor.admin.blocking import call_blocking
from stagedoor.admin.certificates.user_signer import (
    CertificateError,
    NoGrantError,
    TooManyCertificatesError,
)
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.sign_ins import show_id
from stagedoor.model import pending_login
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import RefusedError
from stagedoor.model.identity import Identity
from stagedoor.model.pending_login import (
    LOGIN_OVER,
    LOGIN_PENDING_S,
    LoginState,
    PendingLogin,
    describe_tries,
)
from stagedoor.model.webpass import KeyLogin
from stagedoor.store.sign_in import logins, pending_logins


class LoginApproval:
    """The user's side of a login. It uses the store in a thread; a store that fails is a Denial."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context

    async def find(self, identity: Identity, id_: str) -> PendingLogin | Denial:
        """Return a login that still waits and that this user may approve."""
        if (denial := _check_approver(identity)) is not None:
            return denial
        login = await call_blocking(pending_logins.find, self._context.database, id_)
        if login is None or (
            isinstance(login, PendingLogin)
            and (
                login.find_state(self._context.now()) is None
                or login.wanted_user not in (None, identity.name)
            )
        ):
            return Denial(Reason.NO_APP, LOGIN_OVER)
        return login

    async def approve(
        self, identity: Identity, id_: str, letters: str | None, gateway: str
    ) -> tuple[PendingLogin, str | None] | Denial:
        """Approve a login by its letters; without letters, return a code for the client's port.

        The code is for a client on the same machine as the browser. `gateway` is the address of the page that
        the user sees. Wrong letters are refused, and use up one of the login's tries.
        """
        if (denial := _check_approver(identity)) is not None:
            return denial
        code = secrets.token_urlsafe(32) if letters is None else None

        def step(login: PendingLogin) -> PendingLogin:
            assert identity.sign_in is not None, "it is a person's"
            me = (self._context.now(), identity.sign_in.id, identity.name)
            if code is not None:
                return pending_login.approve_by_code(login, *me, code)
            return pending_login.approve_by_letters(login, *me, letters or "", gateway)

        after = await call_blocking(self._change, identity, id_, step)
        if isinstance(after, Denial):
            return after
        if after.state is LoginState.APPROVED and (code is not None or after.code_hash is None):
            return after, code
        left = after.tries_left
        again = (
            describe_tries(left) if left else "this login is over; log in again from the terminal"
        )
        return Denial(
            Reason.CREDENTIAL_WRONG,
            f"those are not the letters of a terminal that logs in at {gateway}; {again}",
        )

    async def deny(self, identity: Identity, id_: str) -> Denial | None:
        """Refuse a login that the user did not want."""

        def step(login: PendingLogin) -> PendingLogin:
            return pending_login.deny(login, self._context.now())

        after = await call_blocking(self._change, identity, id_, step)
        return after if isinstance(after, Denial) else None

    def _change(
        self, identity: Identity, id_: str, step: Callable[[PendingLogin], PendingLogin]
    ) -> PendingLogin:
        """Change a login by `step` and store it. Runs in a thread. Raises RefusedError, StoreError."""
        login = pending_logins.find(self._context.database, id_)
        if login is None or login.wanted_user not in (None, identity.name):
            raise RefusedError(LOGIN_OVER)
        after = step(login)
        with self._context.change(identity.name, "login.answer") as change:
            if not pending_logins.change(change.transaction, login, after):
                raise RefusedError("this login has just changed; load the page again")
            change.unchanged = True
            change.fields |= {
                "state": after.state.value,
                "key": login.fingerprint,
                "label": login.label,
                "from": login.source,
                "tries_left": after.tries_left,
            }
        return after


async def submit(context: WorkerContext, login: PendingLogin) -> Denial | None:
    """Store a login that waits for its user's approval, or return why there is no room for it."""
    full = await call_blocking(pending_logins.add, context.database, login, context.now())
    if full is None or isinstance(full, Denial):
        return full
    return Denial(
        Reason.THROTTLED if full.where else Reason.OVERLOADED,
        f"{full.most} logins{full.where} wait for approval, which is the limit; try again",
        int(LOGIN_PENDING_S),
    )


def open_approved(
    context: WorkerContext, login: PendingLogin, changed: str
) -> tuple[str, KeyLogin]:
    """Spend an approved login: open a sign-in bound to its key, and return the sign-in with its secret.

    It blocks. Raises NotFoundError, StoreError, and RefusedError with the text `changed` if the login has
    changed meanwhile.
    """
    with context.change(login.wanted_user or "", "login") as change:
        if not pending_logins.change(change.transaction, login, pending_login.spend(login)):
            raise RefusedError(changed)
        session_s = context.settings.web.session_s
        secret, opened = logins.open_login(change.transaction, login, session_s, context.now())
        change.fields |= {
            "user": opened.name,
            "sign_in": show_id(opened.id),
            "key": login.fingerprint,
            "label": login.label,
            "from": login.source,
            "expires_at": opened.expires_at,
        }
    return secret, opened


def make_certificate_denial(error: CertificateError, otherwise: Denial) -> Denial:
    """Return the denial for a certificate that was not signed.

    It is `otherwise` if the reason is neither a missing grant nor a limit.
    """
    if isinstance(error, NoGrantError):
        return Denial(Reason.NO_GRANT, str(error))
    if isinstance(error, TooManyCertificatesError):
        return Denial(Reason.THROTTLED, str(error), error.retry_after_s)
    return otherwise


def _check_approver(identity: Identity) -> Denial | None:
    """Return why this identity may not approve logins, or None if it is a person's sign-in.

    A login would outlive the token or link that approves it, and would not be limited to its scopes.
    """
    if identity.is_person and identity.sign_in is not None:
        return None
    return Denial(
        Reason.NO_GRANT,
        "only a person who has signed in with a password, or at the identity provider, may let a machine "
        "log in",
    )
