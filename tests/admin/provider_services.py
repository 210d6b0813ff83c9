"""The services of single sign-on over a store, at fake providers: sign-ins, logouts and refreshes."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from stagedoor.admin.context import WorkerContext
from stagedoor.admin.service import open_service
from stagedoor.admin.sign_ins import list_sign_ins
from stagedoor.keys.sealing import SealingKey
from stagedoor.model.denial import Denial
from stagedoor.model.policy import Policy
from stagedoor.model.source import Source
from stagedoor.model.units import DAY_S
from stagedoor.settings.file import load_settings
from stagedoor.settings.settings import Settings
from stagedoor.signin.provider_logout import ProviderLogout
from stagedoor.signin.provider_sign_in import ProviderSignIn, ProviderSignIns
from stagedoor.signin.providers import open_clients
from stagedoor.signin.refresh import RefreshService
from stagedoor.store.database import Database, open_database
from stagedoor.store.sign_in.sign_ins import SignInRecord
from tests.fixtures.people import open_session
from tests.oidc.fake import FakeProvider
from tests.oidc.idp import Provider, sso_table

FROM = Source.of("192.0.2.1", 1)
REFRESH_S = 600.0


@dataclass
class ProviderServices:
    """Everything in one event loop; `clock` is what the services take for the time."""

    settings: Settings
    database: Database
    providers: Mapping[str, Provider]
    skew_s: float = 0.0
    sign_ins: ProviderSignIns = field(init=False)
    logout: ProviderLogout = field(init=False)
    refresh: RefreshService = field(init=False)

    def __post_init__(self) -> None:
        clients = open_clients(self.settings, self.clock)
        key = SealingKey(bytes(32))
        context = WorkerContext(self.settings, self.database, Policy, self.clock)
        self.sign_ins = ProviderSignIns(context, key, clients.signing_in, os.urandom, tuple)
        self.logout = ProviderLogout(context, clients.signing_in)
        self.refresh = RefreshService(context, key, clients.refreshing, lambda: 0.0)

    def clock(self) -> float:
        return time.time() + self.skew_s

    async def begin(self, name: str, source: Source = FROM) -> tuple[str, list[tuple[str, str]]]:
        """Return what the browser keeps, and the query that it comes back with."""
        begun = await self.sign_ins.begin(name, "/", source)
        assert not isinstance(begun, Denial), begun.message
        sent = parse_qs(urlsplit(begun.url).query)
        fake = self.providers[name]
        assert isinstance(fake, FakeProvider)
        fake.nonce = sent["nonce"][0]
        return begun.sealed_state, [("state", sent["state"][0]), ("code", "x")]

    async def sign_in(self, name: str) -> None:
        """Sign in as the person of the fake provider. Their sign-in lasts for days."""
        await self._keep(await self.sign_ins.finish(*await self.begin(name), FROM))

    async def sign_in_by(self, name: str, browser: Callable[[str], str]) -> None:
        """Sign in at a real provider: `browser` goes to an address and returns where it is led back to."""
        begun = await self.sign_ins.begin(name, "/", FROM)
        assert not isinstance(begun, Denial), begun.message
        back = await asyncio.to_thread(browser, begun.url)
        query = parse_qsl(urlsplit(back).query)
        await self._keep(await self.sign_ins.finish(begun.sealed_state, query, FROM))

    async def _keep(self, found: object) -> None:
        assert isinstance(found, ProviderSignIn), found
        lasting: dict[str, Any] = {"session_s": 9 * DAY_S, "session_max_s": 9 * DAY_S}
        open_ = partial(open_session, answer=found.answer, **lasting)
        await asyncio.to_thread(open_, self.database, found.identity, self.clock())

    async def refresh_all(self, later_s: float = REFRESH_S) -> None:
        """Ask each provider about its sign-ins, some time later."""
        self.skew_s += later_s
        for fake in self.providers.values():
            if isinstance(fake, FakeProvider):
                fake.skew_s = self.skew_s
        for provider in self.settings.sso:
            await self.refresh.refresh_due(provider)

    def lasting(self) -> list[SignInRecord]:
        with open_service(self.settings) as service:
            return list_sign_ins(service)


@contextmanager
def provider_services(folder: Path, **providers: Provider) -> Iterator[ProviderServices]:
    file = folder / "stagedoor.toml"
    file.write_text(
        f'data_dir = "{folder}/data"\n'
        + "".join(
            sso_table(provider, folder, name=name) + f"refresh_s = {REFRESH_S}\n"
            for name, provider in providers.items()
        )
    )
    settings = load_settings(file)
    with open_service(settings):
        pass
    with closing(open_database(settings.store_location)) as database:
        yield ProviderServices(settings, database, providers)


async def all_cancelled(tasks: list["asyncio.Task[object]"]) -> None:
    """Cancel them in one turn of the loop."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
