"""The audit cannot be written: no login succeeds, no open session is hurt, nothing is lost."""

import contextlib
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.listeners.wire import eventually
from tests.path.faulty import Faulty, Inside, serving
from tests.store import full_disk


def assert_all_written(gateway: Faulty, let_in: list[str]) -> None:
    """Check that each session is in the audit as opened once and closed once, and that no other is open."""
    gateway.upstream.hang_up()

    def written() -> bool:
        events = gateway.audit()
        opened = [e["session"] for e in events if e["kind"] == "session.opened"]
        assert len(opened) == len(set(opened))
        return set(let_in) <= set(opened) == set(gateway.closed())

    eventually("the audit is whole", written)


@contextlib.contextmanager
def locked(gateway: Faulty) -> Iterator[None]:
    """Another process's long transaction."""
    with contextlib.closing(
        sqlite3.connect(gateway.data_dir / "stagedoor.db", isolation_level=None)
    ) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def test_while_another_process_holds_the_store_logins_get_503_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as gateway, contextlib.ExitStack() as stack:
        inside = [stack.enter_context(gateway.entered()) for _ in range(4)]
        with locked(gateway):
            answer = gateway.answer()
            assert answer.status == 503
            assert answer.one("Retry-After") is not None
            assert "locked by another process" in answer.message
            failing = gateway.wait_for(lambda line: line.get("part") == "audit")
            assert failing["event"] == "fails"
            assert gateway.ask() == 503, "at once, from now on"
            assert gateway.ask("nowhere-ssh:22") == 404
            for session in inside:
                session.works()
            inside[0].end()
            inside[1].client.reset()
            with contextlib.suppress(ConnectionResetError):
                inside[1].far.read()
            inside[2].works()
        eventually("it lets in again", lambda: gateway.ask() == 200)
        gateway.wait_for(
            lambda line: line["event"] == "works again" and line.get("part") == "audit"
        )
        inside[2].works()
        eventually("both closes are written", lambda: len(gateway.closed()) >= 2)
        assert gateway.closed()[inside[0].session][0] == "closed"
        assert gateway.closed()[inside[1].session][0] == "downstream_reset"
        # A worker that dies while the store is held: its sessions are closed once it is free.
        with locked(gateway):
            [worker] = gateway.worker_pids()
            os.kill(worker, signal.SIGKILL)
            gateway.wait_for_event("lost sessions cannot be closed in the audit yet")
        gateway.wait_for_event("sessions were lost with their worker")
        for session in inside[2:]:
            assert gateway.closed()[session.session][0] == "lost"
        eventually("a new worker serves", lambda: gateway.ask() == 200)
        assert_all_written(gateway, [session.session for session in inside])
        reasons = [e["reason"] for e in gateway.audit() if e["kind"] == "session.denied"]
        assert "no_app" in reasons, "what was refused meanwhile is written too"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    with full_disk.small_disk(tmp_path / "disk", 2) as disk:
        yield disk.folder


def fill(disk: Path) -> Path:
    """Take all the space that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return filler


def test_on_a_full_disk_logins_get_503_and_nothing_is_lost(small_disk: Path) -> None:
    with serving(small_disk) as gateway, contextlib.ExitStack() as stack:
        inside: list[Inside] = [stack.enter_context(gateway.entered()) for _ in range(3)]
        filler = fill(small_disk)
        let_in = [session.session for session in inside]
        for _ in range(500):  # the write-ahead log may still have room of its own
            answer = gateway.answer()
            if answer.status != 200:
                break
            let_in.append(answer.one("Stagedoor-Session") or "")
        assert answer.status == 503
        assert "disk full" in answer.message
        assert answer.one("Retry-After") is not None
        for session in inside:
            session.works()
        inside[0].end()
        inside[1].far.reset()
        inside[1].wait_until_cut()
        gateway.wait_for_ends(inside[0], inside[1])
        filler.unlink()
        eventually("it lets in again", lambda: gateway.ask() == 200)
        inside[2].works()
        inside[2].end()
        assert_all_written(gateway, let_in)
        assert gateway.closed()[inside[0].session][0] == "closed"
        assert gateway.closed()[inside[1].session][0] == "upstream_reset"
