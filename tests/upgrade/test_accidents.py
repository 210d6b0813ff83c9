"""Accidents during and after an upgrade: a supervisor that is killed, and a stop at the wrong moment."""

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.fixtures.gateway import PATIENCE_S
from tests.fixtures.laptop import Laptop
from tests.upgrade.conftest import HESITANT, SLOW, A, B
from tests.upgrade.programs import UpgradedGateway, children, ended
from tests.upgrade.sessions import by_connect
from tests.upgrade.test_upgrade import metrics, value
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)  # each starts several programs, the first makes them too
STARTING = "starting 1 workers"
EARLIER_STEPS = ("reading the settings", "preparing the store")


def successor(gateway: UpgradedGateway, step: str = STARTING, after: int = 0) -> int:
    """Return the process id of a supervisor that starts, once it has come to a step."""
    gateway.wait_for(lambda line: line.get("step") == step, after=after)
    old = gateway.current().pid
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != old:
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            own = str(gateway.file).encode() in words and b"serve" in words
            if own and b"STAGEDOOR_HANDOVER=" in environment:
                return int(entry.name)
    raise AssertionError("no program starts")


def has_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists() or (children(pid) == [] and _is_zombie(pid))


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def start_again(gateway: UpgradedGateway, version: str = B) -> None:
    """Start a gateway whose supervisor was killed, as a service manager would."""
    assert gateway.process is not None
    gateway.process.wait(PATIENCE_S)
    gateway.process = None  # what its workers still write ends no log of the next one
    gateway.lines.clear()
    gateway.programs.install(version)
    gateway.start()


@pytest.mark.continuity(3)
def test_the_new_supervisor_is_killed_before_and_after_it_takes_over(
    laptop: Laptop, gateway: UpgradedGateway
) -> None:
    """A service manager learns the second from the exit of the first supervisor, and starts the gateway
    again."""
    with by_connect(gateway.port(), gateway.token()) as session:
        before = gateway.current().pid
        command = gateway.begin_upgrade(SLOW)
        os.kill(successor(gateway), signal.SIGKILL)
        with ended(command) as (code, stderr):
            assert code == 1
            assert f"ended while it was {STARTING}" in stderr
        session.check(1)
        assert gateway.current().pid == before
        assert gateway.upgrade(B)["code"] == 0
        session.check(2)
        assert gateway.upgrade(B)["code"] == 0
        os.kill(gateway.current().pid, signal.SIGKILL)
        session.check(3)
        assert gateway.process is not None
    assert gateway.process.wait(PATIENCE_S) == 1
    assert gateway.lines


@pytest.mark.continuity(3)
def test_the_old_supervisor_is_killed_before_it_hands_over(
    laptop: Laptop, gateway: UpgradedGateway
) -> None:
    """The new one ends; sessions have the drain time, and the next start finds nothing in its way."""
    with by_connect(gateway.port(), gateway.token()) as session:
        command = gateway.begin_upgrade(SLOW)
        new = successor(gateway)
        gateway.signal(signal.SIGKILL)
        session.check(1)
        with ended(command) as (code, stderr):
            assert code == 1
            assert "the gateway ended during the upgrade" in stderr
        wait_until(lambda: has_gone(new))
    start_again(gateway)
    with by_connect(gateway.port(), gateway.token()) as session:
        session.check(2)


@pytest.mark.continuity(3)
def test_the_new_supervisor_is_killed_at_each_earlier_step(
    laptop: Laptop, gateway: UpgradedGateway
) -> None:
    with by_connect(gateway.port(), gateway.token()) as session:
        before = gateway.current().pid
        for number, step in enumerate(EARLIER_STEPS, 1):
            lines = len(gateway.lines)
            command = gateway.begin_upgrade(HESITANT)
            os.kill(successor(gateway, step, lines), signal.SIGKILL)
            with ended(command) as (code, stderr):
                assert code == 1
                assert f"ended while it was {step}" in stderr
            session.check(number)
            assert gateway.current().pid == before


@pytest.mark.continuity(3)
@pytest.mark.parametrize("step", [*EARLIER_STEPS, None])
def test_the_old_supervisor_is_killed_at_each_other_step(
    laptop: Laptop, gateway: UpgradedGateway, step: str | None
) -> None:
    """None: the new one is ready, and the old one has not handed over yet."""
    if step is None:
        gateway.signal(signal.SIGKILL)
        start_again(gateway, HESITANT)
    with by_connect(gateway.port(), gateway.token()) as session:
        command = gateway.begin_upgrade(B if step is None else HESITANT)
        new = successor(gateway, step or STARTING)
        if step is None:
            wait_until(lambda: any(note.retired for note in gateway.notes()))
        gateway.signal(signal.SIGKILL)
        session.check(1)
        with ended(command) as (code, _):
            assert code == 1
        wait_until(lambda: has_gone(new))
    start_again(gateway)
    with by_connect(gateway.port(), gateway.token()) as session:
        session.check(2)


@pytest.mark.continuity(3)
def test_a_stop_while_the_new_program_starts_ends_both(
    laptop: Laptop, gateway: UpgradedGateway
) -> None:
    command = gateway.begin_upgrade(SLOW)
    new = successor(gateway)
    gateway.signal(signal.SIGTERM)
    assert gateway.process is not None
    assert gateway.process.wait(PATIENCE_S) == 0
    wait_until(lambda: has_gone(new))
    with ended(command) as (code, _):
        assert code == 1


@pytest.mark.continuity(3)
def test_supervisors_are_killed_after_the_hand_over(
    laptop: Laptop, gateway: UpgradedGateway
) -> None:
    """The workers of the first are like those of any supervisor that dies, and the new gateway notices
    nothing. Once all are killed, sessions have the drain time, and the next start finds nothing in
    its way."""
    token = gateway.token()  # of which a gateway whose first process is killed would hear later
    with by_connect(gateway.port(), token) as session:
        assert gateway.upgrade(B)["code"] == 0
        gateway.signal(signal.SIGKILL)
        wait_until(lambda: len(gateway.notes()) == 1)
        session.check(1)
    with by_connect(gateway.port(), token) as before:
        before.check(1)
        assert gateway.upgrade(B)["code"] == 0
        with by_connect(gateway.port(), token) as after:
            for note in gateway.notes():
                os.kill(note.pid, signal.SIGKILL)
            before.check(2)
            after.check(2)
    start_again(gateway)
    with by_connect(gateway.port(), token) as session:
        session.check(3)


def test_a_service_manager_is_given_the_new_supervisor(
    laptop: Laptop, gateway: UpgradedGateway, manager: socket.socket
) -> None:
    """sd_notify(3): MAINPID comes from the old one, before READY from the new one."""
    first = gateway.current().pid
    with by_connect(gateway.port(), gateway.token()) as session:
        assert gateway.upgrade(B)["code"] == 0
        second = gateway.current().pid
        said = [manager.recv(1024).decode() for _ in range(3)]
        assert said == ["READY=1", f"MAINPID={second}", "READY=1"]
        assert second != first
        parent = Path(f"/proc/{second}/stat").read_text().rpartition(")")[2].split()[1]
        assert int(parent) != first, "a service manager hears of the death of its own children only"
        session.check(1)
        assert gateway.process is not None
        assert gateway.process.poll() is None
        assert gateway.upgrade(B)["code"] == 0
        third = gateway.current().pid
        wait_until(lambda: has_gone(second), what="the end of the one in the middle")
        assert gateway.process.poll() is None
        session.check(2)
    assert gateway.process.wait(PATIENCE_S) == 0, "it ends with its last session"
    assert gateway.current().pid == third


def test_a_program_in_the_middle_without_sessions_ends(
    laptop: Laptop, gateway: UpgradedGateway
) -> None:
    """The first one, which the test has started, speaks to the newest, and learns how that ends."""
    first = gateway.current().pid
    with by_connect(gateway.port(), gateway.token()) as session:
        assert gateway.upgrade(B)["code"] == 0
        middle = gateway.current().pid
        done = gateway.upgrade(A)
        assert (done["code"], done["sessions"]) == (0, 1)
        wait_until(lambda: has_gone(middle), what="the end of the one in the middle")
        assert {note.pid for note in gateway.notes()} == {first, gateway.current().pid}
        session.check(1)
        wait_until(lambda: value(metrics(gateway), "stagedoor_sessions{") == 1)
        assert value(metrics(gateway), "stagedoor_gateway_sessions_draining ") == 1
    for name in ("stagedoor_sessions{", "stagedoor_gateway_sessions_draining "):
        wait_until(lambda name=name: value(metrics(gateway), name) == 0)
    assert gateway.upgrade(B)["code"] == 0
    gateway.signal(signal.SIGTERM)
    assert gateway.process is not None
    assert gateway.process.wait(PATIENCE_S) == 0
    assert gateway.notes() == []


def test_two_commands_at_once_and_then_a_stop_reaches_every_generation(
    laptop: Laptop, gateway: UpgradedGateway
) -> None:
    """The commands are one upgrade, or one after the other."""
    with by_connect(gateway.port(), gateway.token()) as first:
        commands = [gateway.begin_upgrade(B) for _ in range(2)]
        for command in commands:
            with ended(command) as (code, stderr):
                assert code == 0, stderr
        assert gateway.current().version == B
        with by_connect(gateway.port(), gateway.token()) as second:
            assert gateway.upgrade(A)["code"] == 0
            first.check(1)
            second.check(1)
            assert gateway.stop() == 0
    reasons = [e["reason"] for e in gateway.audit() if e["kind"] == "session.closed"]
    assert reasons == ["drained", "drained"]
