"""A full disk: no login succeeds, and a session that is open can be closed, in every worker."""

import contextlib
from pathlib import Path

from tests.listeners.wire import eventually
from tests.path.faulty import serving
from tests.store.full_disk import small_disk


def test_on_a_full_disk_grants_and_sessions_end_in_every_worker(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk") as disk,
        serving(disk.folder, workers=2) as gateway,
        contextlib.ExitStack() as stack,
    ):
        by_worker = list(gateway.spread(stack).values())
        inside = [session for sessions in by_worker for session in sessions]
        one, *others = inside
        disk.fill()
        for still in inside:
            still.works()
        assert gateway.ask() == 503

        gateway.command("session", "close", one.session, "--no-wait")
        one.wait_until_cut()
        gateway.command("grant", "remove", str(gateway.grant))
        for other in others:
            other.wait_until_cut()
        assert gateway.ask() == 403, "it is not the disk that keeps them out"
        gateway.command("user", "remove", "dev", "--yes")
        assert gateway.ask() == 407

        disk.free()
        ends = gateway.wait_for_ends(*inside)
        assert ends[one.session] == "evicted"
        assert {ends[other.session] for other in others} == {"revoked"}
        eventually("the audit has their ends", lambda: len(gateway.closed()) >= len(inside))
        gateway.settle()
        gateway.wait_for_policy()
        assert gateway.ask() == 200
