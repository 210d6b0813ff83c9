"""The web's passes over the store: tickets, sessions and links, and signing out. Audited."""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from stagedoor.admin.asking import ask, web_service
from stagedoor.admin.change_rate import ChangeRateLimit, count_change
from stagedoor.authn.passes import (
    SIGN_IN_AGAIN,
    Lifetimes,
    identity_of,
    pass_for,
    renewed_end,
)
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import NotFoundError
from stagedoor.model.identity import Identity
from stagedoor.model.policy import Policy
from stagedoor.model.webpass import PassKind, ProviderAnswer, WebPass
from stagedoor.settings.settings import Settings
from stagedoor.store.database import Database
from stagedoor.store.sign_in import passes

_log = structlog.get_logger()
Verdict = Callable[[], Awaitable[Identity | Denial]]


class PassService:
    """Issues, checks and ends passes. It uses the store in a thread.

    `by_newest_policy` is that of `session.flow.Flow`: a pass may be newer than the policy in memory.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        policy: Callable[[], Policy],
        by_newest_policy: Callable[[Verdict], Awaitable[Identity | Denial]],
        lifetimes: Lifetimes,
        allowance: ChangeRateLimit,
        monotonic: Callable[[], float] = time.monotonic,
        issued: Callable[[PassKind, Identity], None] = lambda kind, identity: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Create the service. `issued` is called with the kind and identity of each issued pass."""
        self._settings = settings
        self._database = database
        self._policy = policy
        self._by_newest_policy = by_newest_policy
        self._lifetimes = lifetimes
        self._allowance = allowance
        self._now = now
        self._monotonic = monotonic
        self._issued = issued
        self._stale_s = {provider.name: provider.stale_s for provider in settings.sso}

    async def issue(
        self,
        kind: PassKind,
        identity: Identity,
        target: str | None = None,
        *,
        source: str | None = None,
        label: str | None = None,
        answer: ProviderAnswer | None = None,
    ) -> str | Denial:
        """Issue a pass and return its secret. `target` is the only shell that it is valid for.

        `source` is the address that a session is opened from, `answer` the identity provider's answer.
        """
        # A ticket lasts seconds and changes no policy.
        counted = kind is not PassKind.TICKET
        if counted and (denial := count_change(self._allowance, identity, self._monotonic())):
            return denial
        if kind is PassKind.SESSION and self._is_local_exception(identity):
            denial = await ask(self._audit_local_sign_in, identity, source)
            if denial is not None:
                return denial
        now = self._now()
        web_pass = pass_for(kind, identity, now, self._lifetimes, target, source, label)
        secret = await ask(passes.issue, self._database, web_pass, now, answer)
        if isinstance(secret, str):
            self._issued(kind, identity)
        return secret

    def _is_local_exception(self, identity: Identity) -> bool:
        """Return whether the sign-in is by a password although only some groups may use one."""
        limits = self._settings.accounts.password_groups
        return limits is not None and identity.password_hash is not None

    def _audit_local_sign_in(self, identity: Identity, source: str | None) -> None:
        """Write the sign-in to the audit, durably, before the session is opened. Raises StoreError."""
        service = web_service(self._settings, self._database, identity.name)
        with service.change("web.local-sign-in") as change:
            change.unchanged = True
            change.fields |= {"user": identity.name, "source": source}
        _log.warning("signed in with a local password", user=identity.name, source=source)

    async def show(self, kind: PassKind, secret: str) -> Identity | Denial:
        """Return the identity of a pass that is still valid. It may be shown again."""
        web_pass = await ask(passes.find, self._database, kind, secret)
        if isinstance(web_pass, Denial):
            return web_pass
        return await self.identity_of(web_pass)

    async def use_up(self, kind: PassKind, secret: str) -> tuple[Identity, str | None] | Denial:
        """Use up a pass. Return its identity, and the only shell that it is valid for or None."""
        web_pass = await ask(passes.use_up, self._database, kind, secret)
        if isinstance(web_pass, Denial):
            return web_pass
        identity = await self.identity_of(web_pass)
        if isinstance(identity, Denial):
            return identity
        return identity, web_pass.target if web_pass is not None else None

    async def identity_of(self, web_pass: WebPass | None) -> Identity | Denial:
        """Return the identity of a pass that the policy still accepts. None, an unknown pass, is a denial."""

        async def verdict() -> Identity | Denial:
            return identity_of(web_pass, self._policy(), self._now(), self._stale_s)

        # An unknown secret is refused by the store itself: a newer policy changes nothing.
        return await verdict() if web_pass is None else await self._by_newest_policy(verdict)

    async def sign_out(self, secret: str, reason: str | None = None) -> Denial | None:
        """End a session, and all that it opened; do nothing if there is none with that secret."""

        def end() -> None:
            # Read first: an unknown secret must not make every worker read the policy again.
            session = passes.find(self._database, PassKind.SESSION, secret)
            if session is None:
                return
            service = web_service(self._settings, self._database, session.name)
            with (
                suppress(NotFoundError),
                service.change("web.sign-out", revokes=True) as change,
            ):
                passes.sign_out(change.transaction, secret, service.clock(), reason)
                change.fields |= {"user": session.name}

        return await ask(end)

    async def session(self, secret: str, *, used: bool) -> WebPass | Denial:
        """Return the pass of an active session; with `used`, move its end as far as the settings allow.

        `show` checks whether the policy still accepts its identity.
        """

        def renew() -> WebPass | None:
            session = passes.find(self._database, PassKind.SESSION, secret)
            now = self._now()
            if session is None or session.expires_at <= now:
                return None
            end = renewed_end(session, now, self._lifetimes) if used else None
            if end is None:
                return session
            service = web_service(self._settings, self._database, session.name)
            with suppress(NotFoundError), service.change("web.renew") as change:
                passes.renew(change.transaction, secret, end, now)
                change.fields |= {"user": session.name, "expires_at": end}
            return passes.find(self._database, PassKind.SESSION, secret)

        session = await ask(renew)
        if session is None:
            return Denial(Reason.CREDENTIAL_WRONG, f"your sign-in is over; {SIGN_IN_AGAIN}")
        return session

    def why_ended(self, identity: Identity) -> Denial | None:
        """Return why the identity's web session is over, or None while it lasts. Reads memory only."""
        if identity.sign_in is None:
            return None
        why = self._policy().why_sign_in_over(identity.name, identity.sign_in, self._now())
        return None if why is None else Denial(Reason.CREDENTIAL_WRONG, why)
