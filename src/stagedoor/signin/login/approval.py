"""`stagedoor login`, the user's side: a page where a signed-in user approves or denies a machine's login."""

import secrets
import time
from collections.abc import Callable

from stagedoor.admin.asking import ask, web_service
from stagedoor.model import pending_login
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import RefusedError
from stagedoor.model.identity import Identity
from stagedoor.model.pending_login import OVER, LoginState, PendingLogin
from stagedoor.settings.settings import Settings
from stagedoor.store.database import Database
from stagedoor.store.sign_in import pending_logins


class LoginApproval:
    """The user's side of a login. It uses the store in a thread; a store that fails is a Denial."""

    def __init__(
        self, settings: Settings, database: Database, now: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._database = database
        self._now = now

    async def find(self, identity: Identity, id_: str) -> PendingLogin | Denial:
        """Return a login that still waits and that this user may approve."""
        if (denial := _not_a_person(identity)) is not None:
            return denial
        login = await ask(pending_logins.find, self._database, id_)
        if login is None or (
            isinstance(login, PendingLogin)
            and (
                login.state_at(self._now()) is None
                or login.wanted_user not in (None, identity.name)
            )
        ):
            return Denial(Reason.NO_APP, OVER)
        return login

    async def approve(
        self, identity: Identity, id_: str, letters: str | None, gateway: str
    ) -> tuple[PendingLogin, str | None] | Denial:
        """Approve a login by its letters; without letters, return a code for the client's port.

        The code is for a client on the same machine as the browser. `gateway` is the address of the page that
        the user sees. Wrong letters are refused, and use up one of the login's tries.
        """
        if (denial := _not_a_person(identity)) is not None:
            return denial
        code = secrets.token_urlsafe(32) if letters is None else None

        def step(login: PendingLogin) -> PendingLogin:
            assert identity.sign_in is not None, "it is a person's"
            me = (self._now(), identity.sign_in.id, identity.name)
            if code is not None:
                return pending_login.approve_by_code(login, *me, code)
            return pending_login.approve_by_letters(login, *me, letters or "", gateway)

        after = await ask(self._change, identity, id_, step)
        if isinstance(after, Denial):
            return after
        if after.state is LoginState.APPROVED and (code is not None or after.code_hash is None):
            return after, code
        left = after.tries_left
        again = f"{left} tries are left" if left else "this login is over: begin another"
        return Denial(
            Reason.CREDENTIAL_WRONG,
            f"those are not the letters of a terminal that logs in at {gateway}; {again}",
        )

    async def deny(self, identity: Identity, id_: str) -> Denial | None:
        """Refuse a login that the user did not want."""

        def step(login: PendingLogin) -> PendingLogin:
            return pending_login.deny(login, self._now())

        after = await ask(self._change, identity, id_, step)
        return after if isinstance(after, Denial) else None

    def _change(
        self, identity: Identity, id_: str, step: Callable[[PendingLogin], PendingLogin]
    ) -> PendingLogin:
        """Change a login by `step` and store it. Runs in a thread. Raises RefusedError, StoreError."""
        login = pending_logins.find(self._database, id_)
        if login is None or login.wanted_user not in (None, identity.name):
            raise RefusedError(OVER)
        after = step(login)
        service = web_service(self._settings, self._database, identity.name)
        with service.change("login.answer") as change:
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


def _not_a_person(identity: Identity) -> Denial | None:
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
