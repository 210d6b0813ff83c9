"""Refreshing sign-ins: asking identity providers again whether each still holds, and for the groups."""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog

from stagedoor.admin.context import WorkerContext
from stagedoor.admin.sign_ins import end_by_provider
from stagedoor.keys.sealing import SealingKey
from stagedoor.model.errors import NotFoundError, StoreError
from stagedoor.oidc.client import OidcClient
from stagedoor.oidc.errors import FailedRequestError, OidcError, UnavailableError
from stagedoor.oidc.id_token import Claims
from stagedoor.oidc.refresh import SignInAlive, SignInEnded, Unknown, judge, wait_s
from stagedoor.oidc.request import Tokens
from stagedoor.settings.sso import SingleSignOnSettings
from stagedoor.signin.provider_sign_in import REFRESH_PURPOSE
from stagedoor.signin.providers import read_rules
from stagedoor.store.sign_in import identities
from stagedoor.store.sign_in import provider_answers as answers
from stagedoor.store.sign_in.provider_answers import RefreshCandidate

IDLE_S = 2.0
"""The pause before the next read of the sign-ins that are due, when few were due."""
ADOPT_S = 30.0
"""The time between two hand-overs of refresh tokens from expired sign-ins to the ones that follow them."""
MAX_CONCURRENT = 8
"""The requests that one worker has open at one provider."""
MAX_READ = 200
"""The sign-ins in one page of those that are due."""
MAX_PAGES = 10
"""The pages in one read. The next read continues after them."""
ASK_S = 20.0
"""The time limit for each of the two steps of a refresh."""
TURN_S = 60.0
"""The time for which only one process may refresh a sign-in. Afterwards that process counts as dead."""

_log = structlog.get_logger()


class RefreshService:
    """Refreshes the sign-ins of all identity providers.

    Belongs to one event loop, and uses the store in a thread. Any number of processes may share a store.
    """

    def __init__(
        self,
        context: WorkerContext,
        key: SealingKey,
        clients: Mapping[str, OidcClient],
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._context = context
        self._key = key
        self._clients = clients
        self._dice = dice
        self._adopt_at = 0.0
        self._places: dict[str, tuple[float, bytes] | None] = {}
        """The place after which the next read continues, by the provider's name."""
        self._problems: dict[tuple[str, str], str | None] = {}

    async def run(self) -> None:
        """Refresh sign-ins until it is cancelled. A provider that hangs does not delay the others."""
        await asyncio.gather(*(self._run(provider) for provider in self._context.settings.sso))

    async def _run(self, provider: SingleSignOnSettings) -> None:
        while True:
            try:
                count = await self.refresh_due(provider)
            except StoreError:  # the policy's watch reports it; retried after the pause
                count = 0
            except Exception as error:
                _log.error("asking an identity provider failed", exc_info=error)
                count = 0
            if count < MAX_CONCURRENT:
                await asyncio.sleep(IDLE_S)

    async def refresh_due(self, provider: SingleSignOnSettings) -> int:
        """Refresh at most `MAX_CONCURRENT` sign-ins that are due. Return how many. Raises StoreError."""
        taken = await asyncio.to_thread(self._take, provider)
        asked = await asyncio.gather(
            *(self._ask(candidate, token) for candidate, token in taken), return_exceptions=True
        )
        pairs = [(candidate, answer) for (candidate, _), answer in zip(taken, asked, strict=True)]
        # Confirmations first: whether a failure is the user's own depends on them.
        for candidate, answer in sorted(pairs, key=lambda pair: _rank(pair[1])):
            if isinstance(answer, BaseException) and not isinstance(answer, OidcError):
                raise answer
            await asyncio.to_thread(self._apply, provider, candidate, answer)
        return len(taken)

    def _take(self, provider: SingleSignOnSettings) -> list[tuple[RefreshCandidate, str]]:
        """Take the turn to refresh sign-ins that are due; return them with their refresh tokens."""
        now = self._context.now()
        if now >= self._adopt_at:
            self._adopt_at = now + ADOPT_S
            answers.adopt(self._context.database, now)
        wanted = self._list_readable(provider, now)
        if not wanted:
            return []
        tokens = {candidate.sign_in: token for candidate, token in wanted}
        taken = answers.take_turns(
            self._context.database, [candidate for candidate, _ in wanted], now + TURN_S
        )
        return [(candidate, tokens[candidate.sign_in]) for candidate in taken]

    def _list_readable(
        self, provider: SingleSignOnSettings, now: float
    ) -> list[tuple[RefreshCandidate, str]]:
        """List at most `MAX_CONCURRENT` sign-ins that are due, with their refresh tokens.

        Another gateway on this store may have another key: it refreshes its own sign-ins. They remain due if
        it is down, so reading continues after them.
        """
        after = self._places.get(provider.name)
        is_start, is_problem = after is None, False
        readable: list[tuple[RefreshCandidate, str]] = []
        for _ in range(MAX_PAGES):
            page = answers.list_due(self._context.database, [provider.name], now, MAX_READ, after)
            for candidate in page:
                token = self._key.open(REFRESH_PURPOSE, candidate.refresh_token)
                if token is None:
                    is_problem = True
                elif len(readable) < MAX_CONCURRENT:
                    readable.append((candidate, token.decode()))
            if len(readable) == MAX_CONCURRENT:
                break
            after = page[-1].place if len(page) == MAX_READ else None
            if after is None:
                break
        self._places[provider.name] = after
        if is_problem:
            self._log_problem(
                provider,
                "sealing key",
                "some sign-ins were sealed by another key (keys.sign_in_key_file)",
            )
        elif is_start:  # the sign-ins before another start are still unreadable
            self._log_problem(provider, "sealing key", None)
        return readable

    async def _ask(self, candidate: RefreshCandidate, token: str) -> Claims | OidcError:
        client = self._clients[candidate.provider]
        try:
            async with asyncio.timeout(ASK_S):
                tokens = await client.refresh(token)
            await self._keep_token(candidate, tokens)
            async with asyncio.timeout(ASK_S):
                return await client.read_refreshed(tokens)
        except TimeoutError:
            return UnavailableError(f"no answer within {ASK_S:g} s")
        except OidcError as error:
            return error

    async def _keep_token(self, candidate: RefreshCandidate, tokens: Tokens) -> None:
        """Store the new refresh token, before anything else: the old one is no longer valid.

        While this process has the turn, a store that fails is tried again. Raises StoreError.
        """
        if tokens.refresh_token is None:
            return None
        sealed = self._key.seal(REFRESH_PURPOSE, tokens.refresh_token.encode())
        while True:
            try:
                return await asyncio.to_thread(
                    answers.rotate_token, self._context.database, candidate, sealed
                )
            except StoreError:
                if self._context.now() >= candidate.turn - ASK_S:
                    raise
                await asyncio.sleep(1)

    def _apply(
        self,
        provider: SingleSignOnSettings,
        candidate: RefreshCandidate,
        answer: Claims | OidcError,
    ) -> None:
        """End or keep the sign-in, as the provider's answer requires. Runs in a thread. Raises StoreError."""
        others_hold = (
            isinstance(answer, FailedRequestError)
            and candidate.failed_at is not None
            and answers.has_answered_since(
                self._context.database, provider.name, candidate.failed_at
            )
        )
        match judge(
            answer, candidate.subject, read_rules(provider), candidate.failure, others_hold
        ):
            case SignInEnded(why):
                _log.warning("sign-in ended", provider=provider.name, user=candidate.user, why=why)
                service = self._context.make_service(provider.name, "sso")
                end_by_provider(service, candidate, why)
            case Unknown(why):
                self._log_problem(provider, "unavailable", why)
                failures = candidate.failures + 1
                ask_at = self._context.now() + wait_s(provider.refresh_s, failures, self._dice)
                with self._context.database.write() as transaction:
                    answers.settle(
                        transaction,
                        candidate,
                        ask_at=ask_at,
                        failures=failures,
                        failure=why,
                        failed_at=self._context.now(),
                    )
            case SignInAlive(groups, warning):
                self._log_problem(provider, "unavailable", None)
                if warning is not None:  # logged once: the next user's answer may have no fault
                    self._log_problem(provider, "groups", warning)
                self._keep_sign_in(provider, candidate, groups)

    def _keep_sign_in(
        self,
        provider: SingleSignOnSettings,
        candidate: RefreshCandidate,
        groups: frozenset[str] | None,
    ) -> None:
        """Store that the sign-in holds, with the provider's groups for its user.

        Most answers change no groups. They must not make workers read the policy again.
        """
        now = self._context.now()
        ask_at = now + wait_s(provider.refresh_s, 0, self._dice)
        with self._context.database.read() as reading:
            before = identities.list_provided_groups(reading, candidate.user)
        if groups is None or groups == before:
            with self._context.database.write() as transaction:
                answers.settle(transaction, candidate, ask_at=ask_at, answered_at=now)
            return
        with (
            suppress(NotFoundError),
            self._context.change(
                provider.name, "sso.refresh", by="sso", revokes=groups < before
            ) as change,
        ):
            if not answers.settle(change.transaction, candidate, ask_at=ask_at, answered_at=now):
                raise NotFoundError("another process has refreshed it since")
            identities.set_provided_groups(change.transaction, candidate.user, groups)
            change.fields |= {
                "user": candidate.user,
                "provider": provider.name,
                "subject": candidate.subject,
                "groups": " ".join(sorted(groups)),
            }

    def _log_problem(self, provider: SingleSignOnSettings, about: str, why: str | None) -> None:
        """Log a problem when it begins, changes or ends, rather than once for each sign-in.

        `about` says which of the provider's problems it is: "unavailable", "sealing key" or "groups". `why`
        is None when there is none.
        """
        before = self._problems.get((provider.name, about))
        if why == before:
            return
        self._problems[provider.name, about] = why
        if why is None:
            _log.info(
                "identity provider problem is over",
                provider=provider.name,
                problem=about,
                was=before,
            )
        else:
            _log.warning(
                "identity provider problem", provider=provider.name, problem=about, why=why
            )


def _rank(answer: object) -> int:
    """Return the place of an answer in its batch: confirmations, failures, then what is not an answer."""
    return 0 if isinstance(answer, Claims) else 1 if isinstance(answer, OidcError) else 2
