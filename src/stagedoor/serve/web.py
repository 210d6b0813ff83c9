"""The WebShell's parts: how terminals are reached in each shell, and passes over the store."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from stagedoor.admin import service as admin
from stagedoor.admin.account import StoreDesk, too_much, unavailable
from stagedoor.admin.allowance import Allowance
from stagedoor.admin.presence import StoreCompany
from stagedoor.admin.recording_service import StoreTakes
from stagedoor.authn.passes import Lifetimes, identity_of, pass_for
from stagedoor.listeners.web.app import House
from stagedoor.listeners.web.backstage import Backstage
from stagedoor.listeners.web.files import FileRules
from stagedoor.listeners.web.listener import WebListener
from stagedoor.listeners.web.terminals import ShareRules
from stagedoor.listeners.web.threshold import WebLimits
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import NotFoundError, StoreError
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity
from stagedoor.model.policy import Policy
from stagedoor.model.scope import covers
from stagedoor.model.units import MIB
from stagedoor.model.webpass import PassKind
from stagedoor.net.tls import ServerTls
from stagedoor.recording.recorder import Recorder
from stagedoor.recording.witness import Note
from stagedoor.serve.direct import recording_plan
from stagedoor.serve.shells import holders_of, upstream_of
from stagedoor.session.flow import Flow
from stagedoor.settings.settings import Settings, networks
from stagedoor.store import passes
from stagedoor.store.database import Database


def web_listener(
    settings: Settings,
    flow: Flow,
    database: Database,
    policy: Callable[[], Policy],
    secure: ServerTls | None,
    recorder: Recorder,
    note: Note,
) -> WebListener:
    """The WebShell. `policy` is the policy as it is now. Raises StagedoorError."""

    def recorded(grant: Grant) -> bool:
        return covers(settings.recording.sessions, grant)

    def moves_files(grant: Grant) -> bool:
        return covers(settings.web.files, grant)

    allowance = Allowance()
    return WebListener(
        House(
            Backstage(
                flow,
                upstream_of(settings),
                holders_of(settings),
                recorded,
                recording_plan(settings, recorder),
                note,
                StoreCompany(settings, database, policy, allowance),
            ),
            StorePasses(settings, database, policy, Lifetimes(), allowance),
            StoreDesk(settings, database, policy, allowance),
            StoreTakes(settings, database),
            WebLimits(
                networks(settings.listen.networks),
                networks(settings.web.forwarded_from),
                frozenset(settings.web.origins),
                settings.web.domain,
                settings.web.path,
                settings.listen.header_timeout_s,
                settings.listen.max_pending,
                settings.web.ping_s,
                settings.web.tmux,
            ),
            FileRules(moves_files, settings.web.max_upload_mib * MIB),
            ShareRules(settings.web.share_s),
        ),
        secure,
    )


class StorePasses:
    """Satisfies `listeners.web.ports.Passes`. The store is asked in a thread."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        policy: Callable[[], Policy],
        lifetimes: Lifetimes,
        allowance: Allowance,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._database = database
        self._policy = policy
        self._lifetimes = lifetimes
        self._allowance = allowance
        self._monotonic = monotonic

    async def issue(
        self, kind: PassKind, identity: Identity, target: str | None = None
    ) -> str | Denial:
        # A ticket lasts seconds and changes no policy.
        counted = kind is not PassKind.TICKET
        if counted and (denial := too_much(self._allowance, identity, self._monotonic())):
            return denial
        now = time.time()
        given = pass_for(kind, identity, now, self._lifetimes, target)
        try:
            return await asyncio.to_thread(passes.issue, self._database, given, now)
        except StoreError as error:
            return unavailable(error)

    async def show(self, kind: PassKind, secret: str) -> Identity | Denial:
        try:
            shown = await asyncio.to_thread(passes.find, self._database, kind, secret)
        except StoreError as error:
            return unavailable(error)
        return identity_of(shown, self._policy(), time.time())

    async def use_up(self, kind: PassKind, secret: str) -> tuple[Identity, str | None] | Denial:
        try:
            shown = await asyncio.to_thread(passes.use_up, self._database, kind, secret)
        except StoreError as error:
            return unavailable(error)
        identity = identity_of(shown, self._policy(), time.time())
        if isinstance(identity, Denial):
            return identity
        return identity, shown.target if shown is not None else None

    async def sign_out(self, secret: str) -> Denial | None:
        def end() -> None:
            # Looked for first: what is no session must not make every worker read the policy again.
            found = passes.find(self._database, PassKind.SESSION, secret)
            if found is None:
                return
            office = admin.Office(
                self._database, self._settings.data_dir, f"{found.name} (web)", time.time
            )
            with (
                suppress(NotFoundError),
                office.change("web.sign-out", revokes=True) as change,
            ):
                passes.sign_out(change.transaction, secret, office.clock())
                change.fields |= {"user": found.name}

        try:
            await asyncio.to_thread(end)
        except StoreError as error:
            return unavailable(error)
        return None

    def over(self, identity: Identity) -> Denial | None:
        if identity.sign_in is None:
            return None
        why = self._policy().sign_in_over(identity.name, identity.sign_in, time.time())
        return None if why is None else Denial(Reason.CREDENTIAL_WRONG, why)
