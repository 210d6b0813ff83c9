"""Terminals wait for their person to prove in a browser that they are there: both sides of it."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from stagedoor.admin.asking import ask, on_the_web
from stagedoor.admin.sign_in.links import site_or_none
from stagedoor.authz.step_up import StepUpRules
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import RefusedError
from stagedoor.model.identity import Identity
from stagedoor.model.letters import letters_digest, random_letters, shown_letters
from stagedoor.model.pending_step_up import OVER, PENDING_S, PendingStepUp, is_open, try_letters
from stagedoor.model.policy import Policy
from stagedoor.model.source import Source, source_network
from stagedoor.model.target import Target
from stagedoor.model.units import MINUTE_S
from stagedoor.settings.settings import Settings
from stagedoor.store.database import Database
from stagedoor.store.sign_in import step_ups
from stagedoor.wire.oneline import folded

PATH = "/step-up"
ENOUGH_S = 60.0
"""What waits for longer than this serves the next connection of the same sign-in as well: one address and one
set of letters for 50 hosts."""
OF_SIGN_IN = 50
"""Rows at once, on all workers and gateways."""
MOST_WAITING = 200
"""Connections of one sign-in in a worker."""


def step_up_rules(settings: Settings) -> StepUpRules:
    """Return which targets want a fresh proof of presence, by the settings.

    Without an address of the WebShell its page has no URL to show.
    """
    site = site_or_none(settings)
    url = None if site is None else site + PATH
    return StepUpRules(settings.step_up.patterns, settings.step_up.fresh_s, url)


@dataclass(frozen=True, slots=True)
class _Begun:
    """`told` is what its person has to do; `ends_at` is seconds since the epoch."""

    id: str
    ends_at: float
    told: str = field(repr=False)


class StepUpService:
    """Satisfies `session.ports.StepUps`. Belongs to one event loop; the store is asked in a thread."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        policy: Callable[[], Policy],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._database = database
        self._policy = policy
        self._now = now
        self._url = step_up_rules(settings).url
        self._begun: dict[bytes, _Begun] = {}
        """The last of each sign-in."""
        self._beginning = asyncio.Lock()
        self._waiting: Counter[bytes] = Counter()

    # The terminal's side.

    async def begin(self, identity: Identity, target: Target, source: Source) -> str | None:
        if identity.sign_in is None or self._url is None:
            return None
        async with self._beginning:  # of 50 connections at once, one begins
            return await self._told(identity, identity.sign_in.id, target, source)

    async def _told(
        self, identity: Identity, sign_in: bytes, target: Target, source: Source
    ) -> str | None:
        now = self._now()
        begun = self._begun.get(sign_in)
        if begun is not None and begun.ends_at - now > ENOUGH_S:
            waits = await ask(self._find, begun.id)
            if isinstance(waits, PendingStepUp) and waits.tries_left > 0:
                return begun.told
        id_, letters = secrets.token_urlsafe(9), random_letters(secrets.token_bytes(64))
        step_up = PendingStepUp(
            id_,
            sign_in,
            identity.name,
            target.login_name,
            self._label(sign_in),
            source_network(source.address),
            letters_digest(id_, letters),
            now,
            now + PENDING_S,
        )
        if await ask(step_ups.add, self._database, step_up, now, OF_SIGN_IN) is not True:
            return None  # the refusal itself says where to go
        told = (
            f"open {self._url}/{id_} and type {shown_letters(letters)} there, within "
            f"{PENDING_S / MINUTE_S:.3g} min"
        )
        self._begun = {one: at for one, at in self._begun.items() if at.ends_at > now}
        self._begun[sign_in] = _Begun(id_, step_up.ends_at, told)
        return told

    def _label(self, sign_in: bytes) -> str:
        """What its machine is called, if it is one's."""
        for shown in self._policy().bound_keys.values():
            if shown.sign_in is not None and shown.sign_in.id == sign_in:
                return folded(shown.label or "") or "a machine"
        return "a browser, or a program"

    @contextmanager
    def waiting(self, identity: Identity) -> Iterator[bool]:
        id_ = b"" if identity.sign_in is None else identity.sign_in.id
        if self._waiting[id_] >= MOST_WAITING:
            yield False
            return
        self._waiting[id_] += 1
        try:
            yield True
        finally:
            self._waiting[id_] -= 1
            if not self._waiting[id_]:
                del self._waiting[id_]

    # The browser's side.

    async def look(self, identity: Identity, id_: str) -> PendingStepUp | Denial:
        """What waits, for the page of the person whose it is."""
        found = await ask(self._find, id_)
        if found is None or (
            isinstance(found, PendingStepUp) and not is_open(found, identity.name, self._now())
        ):
            return Denial(Reason.NO_APP, OVER)
        return found

    async def check(self, identity: Identity, id_: str, letters: str) -> PendingStepUp | Denial:
        """The same, for who has typed its letters. Wrong ones cost a try."""
        return await ask(self._check, identity, id_, letters)

    def is_done(self, step_up: PendingStepUp) -> bool:
        """Whether its sign-in was proved since it began."""
        at = self._policy().stepped_up.get(step_up.sign_in)
        return at is not None and at >= step_up.created_at

    def _find(self, id_: str) -> PendingStepUp | None:
        with self._database.read() as transaction:
            return step_ups.find(transaction, id_)

    def _check(self, identity: Identity, id_: str, letters: str) -> PendingStepUp | Denial:
        """Raises RefusedError, StoreError. In a thread."""
        found = self._find(id_)
        if found is None or not is_open(found, identity.name, self._now()):
            raise RefusedError(OVER)
        right, after = try_letters(found, letters)
        if right:
            return found
        service = on_the_web(self._settings, self._database, identity.name)
        with service.change("step-up.letters") as change:
            change.unchanged = True
            if not step_ups.tried(change.transaction, found, after):
                raise RefusedError("another try came at the same time; type the letters again")
            change.fields |= {
                "user": identity.name,
                "from": found.source,
                "tries_left": after.tries_left,
            }
        left = after.tries_left
        again = f"{left} tries are left" if left else "connect again for other letters"
        return Denial(
            Reason.CREDENTIAL_WRONG, f"those are not the letters that the terminal shows; {again}"
        )
