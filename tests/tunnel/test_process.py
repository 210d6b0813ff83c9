"""The endpoint as a service of its own, beside the gateway's."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from stagedoor.model.denial import Denial
from stagedoor.resume.control import EndpointControl
from stagedoor.resume.messages import (
    connect_control,
    list_retired,
    retire_endpoint,
    stop_endpoint,
)
from stagedoor.resume.requests import Orphan, SessionRequest, StreamTicket
from tests.stopped import killed
from tests.tunnel.test_endpoint import KEY, Watched, opened, sshd
from tests.waiting import wait_until


def service(folder: Path) -> AbstractContextManager["subprocess.Popen[str]"]:
    """Run the endpoint as a service manager does, with `folder` as the `data_dir`."""
    settings = folder / "stagedoor.toml"
    settings.write_text(f'data_dir = "{folder}"\n')
    command = [sys.executable, "-P", "-m", "stagedoor.resume", "--config", settings]
    return killed(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))


def answers(folder: Path) -> bool:
    try:
        connect_control(folder).close()
    except OSError:
        return False
    return True


@pytest.mark.continuity(6)
async def test_workers_use_the_endpoint_that_the_service_manager_started(tmp_path: Path) -> None:
    folder = tmp_path / "resume"
    with service(tmp_path) as process:
        wait_until(lambda: answers(folder), what="it does not listen")
        assert folder.stat().st_mode & 0o777 == 0o700
        control = EndpointControl(folder, 60.0)
        assert await control.adopt("s1", None) is None  # type: ignore[arg-type]  # it answers
        control._hang_up()
        assert not (folder / "faults").exists(), "no worker started another one"
        assert process.poll() is None
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM


@pytest.mark.continuity(1)
async def test_a_program_that_was_replaced_keeps_its_sessions_and_gets_no_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service manager learns which process is the endpoint: the last one."""
    folder, owner = tmp_path / "resume", "alice app01.ssh"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with service(tmp_path) as first:
            assert manager.recv(100) == b"MAINPID=%d" % first.pid
            worker = EndpointControl(folder, 60.0)
            async with sshd() as (connect, events):
                client = await opened(worker, await connect())
                await client.says(b"before", b"BEFORE")
                os.kill(first.pid, signal.SIGUSR2)
                second = int(manager.recv(100).removeprefix(b"MAINPID="))
                assert second != first.pid
                await client.says(b"meanwhile", b"MEANWHILE")
                client.cut()

                newer = EndpointControl(folder, 60.0)
                assert isinstance(await newer.resume(KEY, 1, "bob app01.ssh", Watched()), Denial)
                ticket = await newer.resume(KEY, 1, owner, Watched())
                assert isinstance(ticket, StreamTicket), ticket
                client.connect(await ticket.control.connect_data(ticket.secret))
                await client.says(b"after", b"AFTER")

                fresh = Watched()
                kept = SessionRequest("s2", owner, "note", 60.0)
                shell = await connect()
                opening = await newer.open("f" * 32, kept, shell, fresh)
                shell.close()
                assert isinstance(opening, StreamTicket)
                assert (opening.control, first.poll()) == (newer, None)
                ticket.control.end(ticket.number, "enough")
                assert await asyncio.to_thread(first.wait, 60) == 0
                assert list_retired(folder) == []
                stop_endpoint(folder)
                assert (await fresh.news.get())[1] == "the endpoint of resumable tunnels has ended"  # type: ignore[index]
                assert not answers(folder)
                assert [await events.get() for _ in range(2)] == ["hung up"] * 2
                client.cut()
                for control in (worker, newer):
                    control._hang_up()


@pytest.mark.continuity(8)
async def test_a_worker_adopts_the_orphans_of_a_program_that_was_replaced(tmp_path: Path) -> None:
    """And it forgets that program once it has ended."""
    folder = tmp_path / "resume"
    offers: asyncio.Queue[tuple[EndpointControl, Orphan]] = asyncio.Queue()
    with service(tmp_path) as first:
        wait_until(lambda: answers(folder), what="it does not listen")
        worker, newer = (EndpointControl(folder, 60.0) for _ in range(2))
        async with sshd() as (connect, events):
            client = await opened(worker, await connect())
            await client.says(b"x", b"X")
            client.cut()
            await asyncio.to_thread(retire_endpoint, folder)
            newer.adopt_orphans(lambda control, orphan: offers.put_nowait((control, orphan)))
            await newer.connect_endpoints()
            worker._hang_up()
            async with asyncio.timeout(60):
                control, orphan = await offers.get()
            assert control is not newer
            number = await control.adopt(orphan.earlier.id, Watched())
            assert number is not None
            control.end(number, "enough")
            async with asyncio.timeout(60):
                assert await events.get() == "hung up"
            assert await asyncio.to_thread(first.wait, 60) == 0
            await newer.connect_endpoints()
            assert newer._retired == {}


async def test_a_worker_removes_the_sockets_of_a_program_that_was_killed(tmp_path: Path) -> None:
    """Only a program that ends in order does so itself."""
    folder = tmp_path / "resume"
    with service(tmp_path) as first:
        wait_until(lambda: answers(folder), what="it does not listen")
        worker = EndpointControl(folder, 60.0)
        async with sshd() as (connect, _):
            client = await opened(worker, await connect())
            await asyncio.to_thread(retire_endpoint, folder)
            worker.adopt_orphans(lambda *_: None)
            await worker.connect_endpoints()
            assert list_retired(folder) == [f".{first.pid}"]
            first.kill()
            await asyncio.to_thread(first.wait, 60)
            worker._hang_up()
            newer = EndpointControl(folder, 60.0)
            newer.adopt_orphans(lambda *_: None)
            await newer.connect_endpoints()
            assert [file.name for file in folder.iterdir()] == ["lock"]
            client.cut()


def test_an_endpoint_that_a_worker_started_makes_room_for_the_service(tmp_path: Path) -> None:
    """It has no session, and ends."""
    folder = tmp_path / "resume"
    with service(tmp_path) as first:
        wait_until(lambda: answers(folder), what="it does not listen")
        with service(tmp_path) as second:
            assert first.wait(60) == 0
            assert second.poll() is None
            wait_until(lambda: answers(folder))
            stop_endpoint(folder)
            assert second.wait(60) == 0
