"""`stagedoor login`, the person's side: a page where somebody who is signed in lets a machine in, or not."""

import secrets
import time
from collections.abc import Callable

from stagedoor.admin.asking import ask, on_the_web
from stagedoor.model import pending_login
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import RefusedError
from stagedoor.model.identity import Identity
from stagedoor.model.pending_login import OVER, LoginState, PendingLogin
from stagedoor.settings.settings import Settings
from stagedoor.store.database import Database
from stagedoor.store.sign_in import pending_logins


class LoginApproval:
    """The person's side of a login. The store is asked in a thread; one that fails is a Denial."""

    def __init__(
        self, settings: Settings, database: Database, now: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._database = database
        self._now = now

    async def look(self, identity: Identity, id_: str) -> PendingLogin | Denial:
        """One that lasts, for the page of somebody who may approve it."""
        if (denial := _no_person(identity)) is not None:
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
        """Approve a login by its letters or, without any, return the code for the port of the same machine.

        `gateway` is the address of the page that the person sees. Wrong letters are a denial, and cost a try.
        """
        if (denial := _no_person(identity)) is not None:
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
        """The person did not want it."""

        def step(login: PendingLogin) -> PendingLogin:
            return pending_login.deny(login, self._now())

        after = await ask(self._change, identity, id_, step)
        return after if isinstance(after, Denial) else None

    def _change(
        self, identity: Identity, id_: str, step: Callable[[PendingLogin], PendingLogin]
    ) -> PendingLogin:
        """Raises RefusedError. In a thread."""
        login = pending_logins.find(self._database, id_)
        if login is None or login.wanted_user not in (None, identity.name):
            raise RefusedError(OVER)
        after = step(login)
        service = on_the_web(self._settings, self._database, identity.name)
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


def _no_person(identity: Identity) -> Denial | None:
    """A login outlives the token or link that would approve it, and knows nothing of its scopes."""
    if identity.is_person and identity.sign_in is not None:
        return None
    return Denial(
        Reason.NO_GRANT,
        "only a person who has signed in with a password, or at the identity provider, may let a machine "
        "log in",
    )
