"""Whatever fails, in whatever order: every session is closed exactly once, or was never opened."""

import asyncio
import random
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.audit.ledger import AuditLedger
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.event import EventKind
from stagedoor.model.session import AccessMethod, EndReason, OpenedSession, SessionResult
from tests.audit.sample import READY, SOURCE, Disk, flushed, full

STEPS = st.sampled_from(["open", "open", "hang up", "close", "deny", "turn", "pause"])
FAULTS = st.sampled_from(["", "", "", "before", "after", "bug"])


class FaultyDisk(Disk):
    def __init__(self, path: Path, faults: list[str]) -> None:
        super().__init__(path)
        self._faults = faults
        self.before = lambda: self._fault("before")
        self.after = lambda: self._fault("after")

    def _fault(self, moment: str) -> None:
        if moment == "before":
            self._now = self._faults.pop() if self._faults else ""
        if self._now == moment:
            full()
        if self._now == "bug" and moment == "before":
            raise ZeroDivisionError


@settings(max_examples=60, deadline=None)
@given(
    st.lists(STEPS, min_size=1, max_size=40),
    st.lists(FAULTS, max_size=25),
    st.randoms(use_true_random=False),
)
def test_every_session_is_closed_exactly_once(
    steps: list[str], faults: list[str], chance: random.Random
) -> None:
    with TemporaryDirectory() as folder:
        disk = FaultyDisk(Path(folder) / "disk" / "stagedoor.db", list(faults))
        ledger = AuditLedger(disk, "w", retry_s=(0.001, 0.002), group_commit_s=0.001)
        ledger.start()
        asyncio.run(play(ledger, steps, chance))
        assert ledger.stop(20) == 0
        opens = [event.session for event in disk.events(EventKind.SESSION_OPENED)]
        closes = [event.session for event in disk.events(EventKind.SESSION_CLOSED)]
        assert len(set(opens)) == len(opens)
        assert sorted(closes, key=str) == sorted(opens, key=str)
        order = [(e.event.session, e.event.kind) for e in disk.entries() if e.event.session]
        for session in opens:
            assert [kind for found, kind in order if found == session] == [
                EventKind.SESSION_OPENED,
                EventKind.SESSION_CLOSED,
            ]
        disk.database.close()


async def play(ledger: AuditLedger, steps: list[str], chance: random.Random) -> None:
    logins: list[asyncio.Task[OpenedSession | Denial]] = []
    inside: list[OpenedSession] = []

    def arrive(task: asyncio.Task[OpenedSession | Denial]) -> None:
        if not task.cancelled() and isinstance(opened := task.result(), OpenedSession):
            inside.append(opened)

    for step in steps:
        if step == "open":
            login = asyncio.create_task(ledger.open(READY, AccessMethod.CONNECT, SOURCE))
            login.add_done_callback(arrive)
            logins.append(login)
        elif step == "hang up" and logins:
            chance.choice(logins).cancel()
        elif step == "close" and inside:
            ledger.close_session(
                inside.pop(chance.randrange(len(inside))), SessionResult(EndReason.CLOSED)
            )
        elif step == "deny":
            ledger.record_denial(Denial(Reason.NO_GRANT, "no"), AccessMethod.CONNECT, SOURCE)
        elif step == "turn":
            await asyncio.sleep(0)
        elif step == "pause":
            await asyncio.sleep(0.002)
    await asyncio.gather(*logins, return_exceptions=True)
    await asyncio.sleep(0)
    for opened in inside:
        ledger.close_session(opened, SessionResult(EndReason.CLOSED))
    await flushed(ledger)
