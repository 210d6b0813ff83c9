"""Identity providers asked again about each sign-in that lasts: whether it holds, and the groups."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog

from stagedoor.admin.asking import by_provider_itself
from stagedoor.admin.service import AdminService
from stagedoor.admin.sign_in.sign_ins import end_by_provider
from stagedoor.admin.sign_in.single_sign_on import rules_of
from stagedoor.admin.sign_in.single_sign_on_service import REFRESH_PURPOSE
from stagedoor.keys.sealing import SealingKey
from stagedoor.model.errors import NotFoundError, StoreError
from stagedoor.oidc.again import SignInAlive, SignInEnded, Unknown, judge, wait_s
from stagedoor.oidc.client import OidcClient
from stagedoor.oidc.errors import FailedRequestError, OidcError, UnavailableError
from stagedoor.oidc.id_token import Claims
from stagedoor.oidc.request import Tokens
from stagedoor.settings.settings import Settings
from stagedoor.settings.sso import SingleSignOn
from stagedoor.store.database import Database
from stagedoor.store.sign_in import identities
from stagedoor.store.sign_in import provider_answers as answers
from stagedoor.store.sign_in.provider_answers import RefreshCandidate

LOOK_S = 2.0
"""How often it is looked up whose turn it is."""
ADOPT_S = 30.0
"""How often tokens of sign-ins that have expired are handed to those that follow them."""
AT_ONCE = 8
"""Of one provider and one worker."""
MOST_READ = 200
ASK_S = 20.0
"""For each of the two steps of asking."""
TURN_S = 60.0
"""A process that asks is alone for this time; afterwards it is taken for dead."""

_log = structlog.get_logger()


class RefreshService:
    """Belongs to one event loop; the store is asked in a thread. Any number of processes may run it on one
    store."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        key: SealingKey,
        clients: Mapping[str, OidcClient],
        now: Callable[[], float] = time.time,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._database = database
        self._key = key
        self._clients = clients
        self._now = now
        self._dice = dice
        self._adopt_at = 0.0
        self._problems: dict[tuple[str, str], str | None] = {}

    async def run(self) -> None:
        """Until it is cancelled. A provider that hangs keeps no other waiting."""
        await asyncio.gather(*(self._run(provider) for provider in self._settings.sso))

    async def _run(self, provider: SingleSignOn) -> None:
        while True:
            try:
                asked = await self.round(provider)
            except StoreError:  # told of by the policy's watch; asked again when it is back
                asked = 0
            except Exception as error:
                _log.error("asking an identity provider failed", exc_info=error)
                asked = 0
            if asked < AT_ONCE:
                await asyncio.sleep(LOOK_S)

    async def round(self, provider: SingleSignOn) -> int:
        """Ask about some of those whose turn it is; how many. Raises StoreError."""
        taken = await asyncio.to_thread(self._take, provider)
        await asyncio.gather(*(self._ask(provider, mine, token) for mine, token in taken))
        return len(taken)

    def _take(self, provider: SingleSignOn) -> list[tuple[RefreshCandidate, str]]:
        now = self._now()
        if now >= self._adopt_at:
            self._adopt_at = now + ADOPT_S
            answers.adopt(self._database, now)
        due = answers.due(self._database, [provider.name], now, MOST_READ)
        # Another gateway of this store may have a key of its own: its sign-ins are its own to ask about.
        readable = {
            one.sign_in: token.decode()
            for one in due
            if (token := self._key.open(REFRESH_PURPOSE, one.refresh_token)) is not None
        }
        why = "some sign-ins were sealed by another key (keys.sign_in_key_file)"
        self._tell(provider, "sealed", why if len(readable) < len(due) else None)
        wanted = [one for one in due if one.sign_in in readable][:AT_ONCE]
        if not wanted:
            return []
        taken = answers.take_turns(self._database, wanted, now + TURN_S)
        return [(mine, readable[mine.sign_in]) for mine in taken]

    async def _ask(self, provider: SingleSignOn, mine: RefreshCandidate, token: str) -> None:
        answer = await self._answer(mine, token)
        await asyncio.to_thread(self._judge, provider, mine, answer)

    async def _answer(self, mine: RefreshCandidate, token: str) -> Claims | OidcError:
        client = self._clients[mine.provider]
        try:
            async with asyncio.timeout(ASK_S):
                tokens = await client.ask_again(token)
            await self._keep(mine, tokens)
            async with asyncio.timeout(ASK_S):
                return await client.read_again(tokens)
        except TimeoutError:
            return UnavailableError(f"no answer within {ASK_S:g} s")
        except OidcError as error:
            return error

    async def _keep(self, mine: RefreshCandidate, tokens: Tokens) -> None:
        """The new token, before anything else: the old one is good no more. As long as it is our turn."""
        if tokens.refresh_token is None:
            return None
        sealed = self._key.seal(REFRESH_PURPOSE, tokens.refresh_token.encode())
        while True:
            try:
                return await asyncio.to_thread(answers.rotated, self._database, mine, sealed)
            except StoreError:
                if self._now() >= mine.turn - ASK_S:
                    raise
                await asyncio.sleep(1)

    def _judge(
        self, provider: SingleSignOn, mine: RefreshCandidate, answer: Claims | OidcError
    ) -> None:
        """Do what the answer means for the sign-in. Raises StoreError. In a thread."""
        others_hold = (
            isinstance(answer, FailedRequestError)
            and mine.failed_at is not None
            and answers.answered_since(self._database, provider.name, mine.failed_at)
        )
        match judge(answer, mine.subject, rules_of(provider), mine.failure, others_hold):
            case SignInEnded(why):
                _log.warning("sign-in ended", provider=provider.name, user=mine.user, why=why)
                service = self._service(provider)
                end_by_provider(service, mine, why)
            case Unknown(why):
                self._tell(provider, "away", why)
                failures = mine.failures + 1
                ask_at = self._now() + wait_s(provider.refresh_s, failures, self._dice)
                with self._database.write() as transaction:
                    answers.settle(
                        transaction,
                        mine,
                        ask_at=ask_at,
                        failures=failures,
                        failure=why,
                        failed_at=self._now(),
                    )
            case SignInAlive(groups, warning):
                self._tell(provider, "away", None)
                if warning is not None:  # once: the next person's answer may have no fault
                    self._tell(provider, "groups", warning)
                self._holds(provider, mine, groups)

    def _holds(
        self, provider: SingleSignOn, mine: RefreshCandidate, groups: frozenset[str] | None
    ) -> None:
        """Most answers change nothing, and must not make workers read anything."""
        now = self._now()
        ask_at = now + wait_s(provider.refresh_s, 0, self._dice)
        with self._database.read() as reading:
            before = identities.provided_groups_of(reading, mine.user)
        if groups is None or groups == before:
            with self._database.write() as transaction:
                answers.settle(transaction, mine, ask_at=ask_at, answered_at=now)
            return
        change_of = self._service(provider).change
        with (
            suppress(NotFoundError),
            change_of("sso.refresh", revokes=groups < before) as change,
        ):
            if not answers.settle(change.transaction, mine, ask_at=ask_at, answered_at=now):
                raise NotFoundError("somebody else has asked since")
            identities.set_provided_groups(change.transaction, mine.user, groups)
            change.fields |= {
                "user": mine.user,
                "provider": provider.name,
                "subject": mine.subject,
                "groups": " ".join(sorted(groups)),
            }

    def _service(self, provider: SingleSignOn) -> AdminService:
        """The audit names the provider."""
        return by_provider_itself(self._settings, self._database, provider.name, self._now)

    def _tell(self, provider: SingleSignOn, about: str, why: str | None) -> None:
        """One line for the log when it begins, changes or ends, and not one for each sign-in."""
        before = self._problems.get((provider.name, about))
        if why == before:
            return
        self._problems[provider.name, about] = why
        if why is None:
            _log.info("identity provider is well again", provider=provider.name, was=before)
        else:
            _log.warning("identity provider", provider=provider.name, why=why)
