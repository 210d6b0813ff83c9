"""The gateway is stopped, and killed: its sessions, new connections, and what the audit says."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.fixtures.gateway import Gateway
from tests.listeners.wire import dialled, eventually
from tests.path.faulty import Faulty, gone, serving
from tests.waiting import BOUND_S

BULK = os.urandom(1024 * 1024) * 8


def test_a_transfer_that_runs_at_sigterm_ends_byte_exact_and_no_new_login_succeeds(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as gateway, gateway.entered() as inside:
        got = hashlib.sha256()

        def read() -> None:
            while data := inside.client.read():
                got.update(data)

        reader = threading.Thread(target=read)
        reader.start()
        inside.far.send(BULK[: len(BULK) // 2])
        gateway.signal(signal.SIGTERM)
        gateway.wait_for(lambda line: line["event"] == "sessions left" and line["sessions"] == 1)
        with pytest.raises(ConnectionRefusedError), dialled(gateway.own_port):
            pass
        inside.far.send(BULK[len(BULK) // 2 :])
        inside.far.half_close()
        reader.join()
        inside.client.half_close()
        assert got.digest() == hashlib.sha256(BULK).digest()
        assert gateway.process is not None
        assert gateway.process.wait(BOUND_S) == 0, "it goes by itself once nobody is left"
        assert gateway.closed() == {inside.session: ("closed", "")}


def test_who_is_still_inside_when_the_drain_time_is_over_is_closed_as_drained(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, drain_timeout_s=0.3) as gateway, gateway.entered() as inside:
        gateway.signal(signal.SIGTERM)
        inside.wait_until_cut()
        assert gateway.process is not None
        assert gateway.process.wait(BOUND_S) == 0
        assert gateway.closed() == {inside.session: ("drained", "the gateway is stopping")}


def test_a_second_sigterm_closes_at_once(tmp_path: Path) -> None:
    with (
        serving(tmp_path, workers=2, drain_timeout_s=600) as gateway,
        gateway.entered() as one,
        gateway.entered() as two,
    ):
        gateway.signal(signal.SIGTERM)
        gateway.wait_for_event("draining")
        one.works()
        gateway.signal(signal.SIGTERM)
        one.wait_until_cut()
        two.wait_until_cut()
        assert gateway.process is not None
        assert gateway.process.wait(BOUND_S) == 0
        assert {reason for reason, _ in gateway.closed().values()} == {"drained"}
        assert len(gateway.closed()) == 2


def test_sigterm_as_it_starts_leaves_no_process_behind(tmp_path: Path) -> None:
    gateway = Faulty(tmp_path, workers=3)
    with contextlib.closing(gateway.upstream):
        process = subprocess.Popen(
            [sys.executable, "-m", "stagedoor", "--config", gateway.file, "serve"],
            stderr=subprocess.PIPE,
            text=True,
        )
        gateway.process = process
        with process:
            eventually("a worker is started", lambda: bool(gateway.worker_pids()))
            workers = gateway.worker_pids()
            process.send_signal(signal.SIGTERM)
            assert process.wait(BOUND_S) == 0
            assert process.stderr is not None
            written = process.stderr.read()  # to its end: every worker has closed it
        assert "Traceback" not in written
        assert '"serving"' not in written
        # A process that ends closes its files a moment before it is gone.
        eventually("the workers have ended", lambda: all(gone(pid) for pid in workers))


def test_sigterm_to_a_worker_alone_is_left_to_the_supervisor(tmp_path: Path) -> None:
    """A service manager may signal all processes at once; how to stop is one process's to say."""
    with serving(tmp_path) as gateway, gateway.entered() as inside:
        [worker] = gateway.worker_pids()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(worker, number)
        inside.works()
        assert gateway.ask() == 200
        assert gateway.worker_pids() == [worker]


def test_a_worker_that_is_killed_loses_its_own_sessions_and_no_others(tmp_path: Path) -> None:
    with serving(tmp_path, workers=2) as gateway, contextlib.ExitStack() as stack:
        by_worker = gateway.spread(stack)
        killed = gateway.worker_pids()[0]
        os.kill(killed, signal.SIGKILL)
        gateway.wait_for(lambda line: line.get("event") == "worker died" and line["code"] == -9)
        gateway.wait_for_event("sessions were lost with their worker")
        lost = set(gateway.closed())
        theirs = [{inside.session for inside in many} for many in by_worker.values()]
        assert lost in theirs, "all of one worker's, none of the other's"
        assert {reason for reason, _ in gateway.closed().values()} == {"lost"}
        for inside in (inside for many in by_worker.values() for inside in many):
            if inside.session in lost:
                inside.wait_until_cut()
            else:
                inside.works()
        eventually("there are two again", lambda: len(gateway.worker_pids()) == 2)
        assert killed not in gateway.worker_pids()
        # Who comes to the new one waits in its accept queue until it is up.
        assert [gateway.ask() for _ in range(12)] == [200] * 12
        gateway.spread(stack)
        signs = gateway.data_dir / "instances"
        eventually("its sign is taken down", lambda: len(list(signs.iterdir())) == 2)


def test_a_supervisor_that_is_killed_leaves_its_sessions_and_its_port(tmp_path: Path) -> None:
    with (
        serving(tmp_path, workers=2, drain_timeout_s=600) as gateway,
        contextlib.ExitStack() as stack,
    ):
        by_worker = gateway.spread(stack)
        sessions = [inside for many in by_worker.values() for inside in many]
        orphans = gateway.worker_pids()
        before = len(gateway.lines)
        gateway.signal(signal.SIGKILL)
        gateway.process.wait()  # type: ignore[union-attr]
        try:
            gateway.restart(after=before)
            assert gateway.ask() == 200
            for inside in sessions:
                inside.works()
            # The question above was a session too, and may be over.
            assert not {inside.session for inside in sessions} & set(gateway.closed()), (
                "nobody is lost"
            )
            sessions[0].end()
            eventually("it is closed", lambda: sessions[0].session in gateway.closed())
            assert gateway.closed()[sessions[0].session][0] == "closed"
            # No other process can stop an orphan; one whose only session has ended goes by itself.
            for pid in orphans * 2:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            for inside in sessions[1:]:
                inside.wait_until_cut()
            eventually("the orphans have ended", lambda: all(gone(pid) for pid in orphans))
            closed = gateway.closed()
            assert {closed[inside.session][0] for inside in sessions[1:]} == {"drained"}
            assert gateway.ask() == 200
        finally:
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def test_what_a_gateway_that_was_killed_left_open_is_found_at_the_next_start(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as gateway, gateway.entered() as inside:
        before = len(gateway.lines)
        [worker] = gateway.worker_pids()
        gateway.signal(signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)
        gateway.process.wait()  # type: ignore[union-attr]
        inside.wait_until_cut()
        assert gateway.closed() == {}
        gateway.restart(after=before)
        reason, detail = gateway.closed()[inside.session]
        assert reason == "lost"
        assert "died" in detail
        assert gateway.wait_for_event("sessions of a gateway that died were closed")["lost"] == 1
        assert gateway.ask() == 200


LATE = """
import asyncio.selector_events as events, atexit, os, signal
atexit.register(os.kill, os.getpid(), signal.SIGTERM)
close_pipe = events.BaseSelectorEventLoop._close_self_pipe
def close_pipe_and_be_told(loop):
    close_pipe(loop)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(os.getpid(), number)
events.BaseSelectorEventLoop._close_self_pipe = close_pipe_and_be_told
"""
"""Sends a process signals at the two moments that an impatient second one seldom meets."""


def test_a_signal_that_comes_while_the_loop_is_closed_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(LATE)
    with Gateway(tmp_path) as gateway:
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        gateway.start()
        gateway.stop()
        assert [line for line in gateway.lines if line["event"] == "not json"] == []
        assert gateway.process is not None
        assert gateway.process.returncode == 0
