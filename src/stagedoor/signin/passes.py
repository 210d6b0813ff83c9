"""The web's passes over the store: sessions of browsers, tickets and links, and signing out. Audited."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import structlog

from stagedoor.admin.blocking import call_blocking
from stagedoor.admin.context import WorkerContext
from stagedoor.authn.passes import (
    SIGN_IN_AGAIN,
    Lifetimes,
    create_session,
    create_ticket,
    is_use_stale,
    judge_pass,
    renew_end,
)
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import NotFoundError, StoreError
from stagedoor.model.identity import Identity
from stagedoor.model.secret import hash_secret
from stagedoor.model.webpass import (
    ProviderAnswer,
    SignInLink,
    SignInPass,
    Ticket,
    TicketPurpose,
    WebPass,
    WebSession,
)
from stagedoor.store.sign_in import passes
from stagedoor.store.sign_in.rows import read_pass

_log = structlog.get_logger()
Verdict = Callable[[], Awaitable[Identity | Denial]]
UsedSignIn = TypeVar("UsedSignIn", bound=SignInPass)


class PassService:
    """Issues, checks and ends passes. It uses the store in a thread; a store that fails is a Denial.

    `judge_with_newest_policy` is that of `session.flow.Flow`: a pass may be newer than the policy in memory.
    """

    def __init__(
        self,
        context: WorkerContext,
        judge_with_newest_policy: Callable[[Verdict], Awaitable[Identity | Denial]],
        on_sign_in: Callable[[Identity], None] = lambda identity: None,
    ) -> None:
        """Create the service. `on_sign_in` is called with the identity of each new session."""
        self._context = context
        self._by_newest_policy = judge_with_newest_policy
        web = context.settings.web
        self._lifetimes = Lifetimes(web.session_s, web.session_max_s)
        self._on_sign_in = on_sign_in
        self._stale_s = {provider.name: provider.stale_s for provider in context.settings.sso}

    async def open_session(
        self,
        identity: Identity,
        *,
        source: str | None = None,
        label: str | None = None,
        answer: ProviderAnswer | None = None,
    ) -> str | Denial:
        """Open the session of a browser and return its secret.

        `source` is the browser's address, `label` its name, and `answer` the identity provider's answer.
        """
        if denial := self._context.count_change(identity):
            return denial
        if self._must_audit_password(identity):
            denial = await call_blocking(self._audit_local_sign_in, identity, source)
            if denial is not None:
                return denial
        secret, now = passes.make_secret(), self._context.now()
        id_ = hash_secret(secret)
        session = create_session(id_, identity, now, self._lifetimes, source, label)
        denial = await call_blocking(passes.issue, self._context.database, session, now, answer)
        if denial is not None:
            return denial
        self._on_sign_in(identity)
        return secret

    async def issue_ticket(self, identity: Identity, purpose: TicketPurpose) -> str | Denial:
        """Issue a ticket and return its secret. It lasts seconds and changes no policy."""
        secret, now = passes.make_secret(), self._context.now()
        ticket = create_ticket(hash_secret(secret), identity, purpose, now, self._lifetimes)
        return await call_blocking(passes.issue, self._context.database, ticket, now) or secret

    def _must_audit_password(self, identity: Identity) -> bool:
        """Return whether a password signed in while `accounts.password_groups` limits passwords."""
        limits = self._context.settings.accounts.password_groups
        return limits is not None and identity.password_hash is not None

    def _audit_local_sign_in(self, identity: Identity, source: str | None) -> None:
        """Write the sign-in to the audit, durably, before the session is opened. Raises StoreError."""
        with self._context.change(identity.name, "web.local-sign-in") as change:
            change.unchanged = True
            change.fields |= {"user": identity.name, "source": source}
        _log.warning("signed in with a local password", user=identity.name, source=source)

    async def check_session(self, secret: str) -> Identity | Denial:
        """Return the identity of the session with that secret, if it is still valid."""
        valid = await self.find_session(secret)
        return valid if isinstance(valid, Denial) else valid[1]

    async def find_session(self, secret: str) -> tuple[WebSession, Identity] | Denial:
        """Return the session with that secret and its identity, if it is still valid."""
        session = await call_blocking(passes.find, self._context.database, WebSession, secret)
        if isinstance(session, Denial):
            return session
        identity = await self.identify(session)
        if isinstance(identity, Denial):
            return identity
        assert session is not None, "an unknown session has no identity"
        return session, identity

    async def use_ticket(self, secret: str) -> tuple[Identity, TicketPurpose] | Denial:
        """Use up a ticket. Return its identity, and what it opens."""
        ticket = await call_blocking(passes.use_up, self._context.database, Ticket, secret)
        if isinstance(ticket, Denial):
            return ticket
        identity = await self.identify(ticket)
        if isinstance(identity, Denial):
            return identity
        assert ticket is not None, "an unknown ticket has no identity"
        return identity, ticket.purpose

    async def use_link(self, secret: str) -> Identity | Denial:
        """Use up a link. Return the identity that it signs in as."""
        link = await call_blocking(passes.use_up, self._context.database, SignInLink, secret)
        return link if isinstance(link, Denial) else await self.identify(link)

    async def identify(self, shown: WebPass | None) -> Identity | Denial:
        """Return the identity of a pass that the policy still accepts. None, an unknown pass, is a denial."""

        async def verdict() -> Identity | Denial:
            return judge_pass(shown, self._context.policy(), self._context.now(), self._stale_s)

        # An unknown secret is refused by the store itself: a newer policy changes nothing.
        return await verdict() if shown is None else await self._by_newest_policy(verdict)

    async def sign_out(self, secret: str, reason: str | None = None) -> Denial | None:
        """End a session, and all that it opened on any gateway; do nothing if there is none.

        `reason` is the line for the user, None if they signed out themselves.
        """

        def end() -> None:
            # Read first: an unknown secret must not make every worker read the policy again.
            session = passes.find(self._context.database, WebSession, secret)
            if session is None:
                return
            with (
                suppress(NotFoundError),
                self._context.change(session.name, "web.sign-out", revokes=True) as change,
            ):
                passes.end_sign_in(change.transaction, session.id, reason, self._context.now())
                change.fields |= {"user": session.name}

        return await call_blocking(end)

    async def use_session(self, session: WebSession) -> WebSession | Denial:
        """Move the end of a session that was just used, as the settings allow. Return it as it is now."""
        used = await call_blocking(self.extend, session)
        if used is None:
            return Denial(Reason.CREDENTIAL_WRONG, f"your sign-in is over; {SIGN_IN_AGAIN}")
        return used

    def extend(self, used: UsedSignIn) -> UsedSignIn | None:
        """Move the end of a sign-in that was just used, as the settings allow, or store its use. It blocks.

        Return the sign-in as it is now, None if it has ended meanwhile. Raises StoreError.
        """
        now = self._context.now()
        end = renew_end(used, now, self._lifetimes)
        if end is None:
            if is_use_stale(used, now):
                with (
                    suppress(StoreError, NotFoundError),
                    self._context.database.write() as transaction,
                ):
                    passes.mark_used(transaction, used.id, now)
            return used
        with suppress(NotFoundError), self._context.change(used.name, "web.renew") as change:
            passes.extend_sign_in(change.transaction, used.id, end, now)
            change.fields |= {"user": used.name, "expires_at": end}
        with self._context.database.read() as transaction:
            return read_pass(transaction, type(used), used.id)

    def explain_end(self, identity: Identity) -> Denial | None:
        """Return why the identity's web session is over, or None while it lasts. Reads memory only."""
        if identity.sign_in is None:
            return None
        why = self._context.policy().explain_sign_in_end(
            identity.name, identity.sign_in, self._context.now()
        )
        return None if why is None else Denial(Reason.CREDENTIAL_WRONG, why)
