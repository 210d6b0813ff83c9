"""Who is at which terminal, and what is shared, from the store; each share is audited."""

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Sequence

from stagedoor.admin import service as admin
from stagedoor.admin.asking import ask, web_service
from stagedoor.admin.change_rate import ChangeRateLimit, count_change
from stagedoor.admin.terminals.shares import end_share, make_share
from stagedoor.authz.replay import has_somewhere
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import StoreError
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.policy import Policy
from stagedoor.model.presence import PresenceEntry
from stagedoor.model.share import Share
from stagedoor.model.target import Target
from stagedoor.settings.settings import Settings
from stagedoor.store import visits
from stagedoor.store.database import Database
from stagedoor.store.shares import hash_of, require_share

# Each visit costs some processes and memory in the shell, and the holder there has a limit of its own
# (`holder.limits`), of which those who type keep a part. These are lower, so that nobody who may only watch
# reaches that one, and one link or one person leaves places for others who watch.
WATCHING = 32
"""Visits of all who only watch a terminal."""
BY_ONE_SHARE = 24
WATCHING_ONE_PERSON = 8
TYPING_ONE_PERSON = 16
"""Above the few windows that a person has: visits whose line was cut count until that is known."""


def crowded(present: Sequence[PresenceEntry], session: str) -> Denial | None:
    """Return why the visit of `session` has to end, or None.

    `present` are all at its terminal, this visit included.
    """
    one = next((each for each in present if each.session == session), None)
    if one is None:
        return None
    alike = [each for each in present if each.looks == one.looks]
    of_person = sum(each.name == one.name for each in alike)
    of_share = sum(each.share == one.share for each in present) if one.share else 0
    if of_person > (WATCHING_ONE_PERSON if one.looks else TYPING_ONE_PERSON):
        does = "watches" if one.looks else "is at"
        return _full(f"{one.name} {does} this terminal {of_person - 1} times already")
    if of_share > BY_ONE_SHARE:
        return _full(f"this link is used by {BY_ONE_SHARE} at a time, which is the limit")
    if one.looks and len(alike) > WATCHING:
        return _full(f"this terminal is watched {WATCHING} times already, which is the limit")
    return None


def _full(why: str) -> Denial:
    return Denial(
        Reason.OVERLOADED,
        f"{why}; close a window of it, or try again when somebody has left",
        retry_after_s=5,
    )


class PresenceService:
    """The store is asked in a thread; one that fails is a Denial."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        policy: Callable[[], Policy],
        allowance: ChangeRateLimit,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._database = database
        self._policy = policy
        self._allowance = allowance
        self._now = now
        self._monotonic = monotonic

    async def arrive(
        self, session: str, target: Target, terminal: str, *, looks: bool, share: str | None
    ) -> Denial | None:
        """Write down who is where, so that every worker can tell those whom it concerns.

        Of reason OVERLOADED: too many are there (`crowded`), and it is not written down.
        """
        at = (str(target), terminal)

        def write() -> Denial | None:
            visits.arrive(self._database, session, *at, looks=looks, share=share)
            # Read once it is written: of several who come at once, none is overlooked by all.
            denial = crowded(_present(visits.list_visits(self._database, at=at)), session)
            if denial is not None:
                visits.leave(self._database, session)
            return denial

        return await ask(write)

    async def leave(self, session: str) -> None:
        try:
            await asyncio.to_thread(visits.leave, self._database, session)
        except StoreError:
            return  # the session's end says the same

    async def present(
        self, *, looks: bool | None = None, targets: Collection[str] | None = None
    ) -> Sequence[PresenceEntry] | Denial:
        """Everybody, or only those who look or type, or who are at terminals of these targets."""
        found = await ask(visits.list_visits, self._database, looks=looks, targets=targets)
        return found if isinstance(found, Denial) else _present(found)

    async def share(
        self, identity: Identity, target: Target, terminal: str, lasts_s: float, *, typing: bool
    ) -> tuple[Share, str] | Denial:
        """A new share, and its secret, which is nowhere kept."""
        if (denial := count_change(self._allowance, identity, self._monotonic())) is not None:
            return denial
        service = self._service(identity)
        return await ask(make_share, service, identity, target, terminal, lasts_s, typing=typing)

    async def end_share(self, identity: Identity, share_id: str) -> Denial | None:
        def end() -> None:
            with self._database.read() as transaction:
                require_share(transaction, share_id, identity.name)
            end_share(self._service(identity), share_id, host=identity.name)

        return await ask(end)

    def shares(self, identity: Identity) -> Sequence[Share]:
        """Theirs that last, by the policy as it is now."""
        now = self._now()
        return [
            share
            for share in self._policy().shares.values()
            if share.host == identity.name and share.expires_at > now
        ]

    def find_share(self, secret: str) -> Share | None:
        """The share with this secret, by the policy as it is now."""
        shown = hash_of(secret)
        for share in self._policy().shares.values():
            if secrets.compare_digest(share.secret_hash, shown):
                return share
        return None

    def may_watch(self, identity: Identity) -> bool:
        """Whether any rule of watching names them."""
        return has_somewhere(self._policy(), identity, Permission.WATCH, self._now())

    def _service(self, identity: Identity) -> admin.AdminService:
        return web_service(self._settings, self._database, identity.name)


def _present(found: Sequence[visits.AttachmentRecord]) -> list[PresenceEntry]:
    return [
        PresenceEntry(
            v.session, v.identity, v.source, v.target, v.terminal, v.looks, v.since, v.share
        )
        for v in found
    ]
