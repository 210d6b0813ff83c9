"""Upgrades in place between programs of several versions, with real sessions."""

import json
import os
import signal
import urllib.request
from pathlib import Path

import pytest

from stagedoor.settings.file import load_settings
from stagedoor.store.sessions import list_sessions
from tests.fixtures.laptop import Laptop
from tests.upgrade.conftest import BAD_STORE, BROKEN, CRASHES, EARLIER, EARLIER_COMMIT, A, B
from tests.upgrade.programs import UpgradedGateway
from tests.upgrade.sessions import by_connect, by_ssh, every_way
from tests.waiting import wait_until

UPGRADES = int(os.environ.get("STAGEDOOR_UPGRADES", "2"))
# Each starts several programs, the first makes them too. The mark counts for more than an option.
pytestmark = pytest.mark.timeout(100 + 100 * UPGRADES)
SESSIONS = int(os.environ.get("STAGEDOOR_SESSIONS", "6"))


def metrics(gateway: UpgradedGateway) -> str:
    address = load_settings(gateway.file).health.address
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def value(text: str, name: str) -> float:
    return sum(
        float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name)
    )


@pytest.mark.continuity(1)
@pytest.mark.line(36)
@pytest.mark.parametrize("workers", [2])
def test_sessions_of_every_access_method_live_through_upgrades_to_and_fro(
    laptop: Laptop, gateway: UpgradedGateway, certificate: Path
) -> None:
    first = gateway.current().pid
    with every_way(laptop, certificate, SESSIONS) as sessions:
        for number in range(1, UPGRADES + 1):
            version = (A, B)[number % 2]
            done = gateway.upgrade(version)
            assert done["code"] == 0, done
            assert done["to"]["version"] == version
            for session in sessions:
                session.check(number)
            with by_ssh(laptop.config(), "app01.ssh") as fresh:
                fresh.check(number)
            status = gateway.command("status", check=False).stdout  # 1: a certificate ends soon
            assert f"older        {A}, process {first}, {len(sessions)} sessions left" in status
        check_every_generation(gateway, len(sessions))
    wait_until(lambda: len(gateway.notes()) == 1, what="the old programs end with their sessions")
    reasons = {e["reason"] for e in gateway.audit() if e["kind"] == "session.closed"}
    assert reasons.isdisjoint({"lost", "drained"}), reasons
    assert gateway.stop() == 0
    done = gateway.upgrade(B)
    assert done["code"] == 3
    assert "no gateway runs" in done["stderr"]


def check_every_generation(gateway: UpgradedGateway, count: int) -> None:
    """Check that metrics, a close and a revocation reach the `count` sessions, all in the oldest workers."""
    assert value(metrics(gateway), "stagedoor_gateway_sessions_draining ") == count
    assert value(metrics(gateway), "stagedoor_logins_total") >= count
    wait_until(lambda: value(metrics(gateway), "stagedoor_sessions{") == count)
    # The end of the last login may be a tenth of a second from the audit.
    wait_until(lambda: len(admin_sessions_of(gateway)) == count)
    opened = admin_sessions_of(gateway)
    assert len(gateway.notes()) > 1
    gateway.command("session", "close", opened[0])
    wait_until(lambda: len(admin_sessions_of(gateway)) == count - 1)
    gateway.command("user", "remove", "dev", "--yes")
    wait_until(lambda: not admin_sessions_of(gateway), what="the revocation")


@pytest.mark.continuity(1)
def test_sessions_live_through_the_way_back_to_an_earlier_commit_and_on_again(
    laptop: Laptop, gateway: UpgradedGateway, certificate: Path
) -> None:
    gateway.programs.make_commit(EARLIER, EARLIER_COMMIT)
    with every_way(laptop, certificate) as sessions:
        assert gateway.upgrade(EARLIER)["to"]["version"] == EARLIER
        with every_way(laptop, certificate) as of_earlier:
            assert gateway.upgrade(B)["to"]["version"] == B
            for session in (*sessions, *of_earlier):
                session.check(1)
            with by_ssh(laptop.config(), "app01.ssh") as fresh:
                fresh.check(2)
    reasons = {e["reason"] for e in gateway.audit() if e["kind"] == "session.closed"}
    assert reasons.isdisjoint({"lost", "drained"}), reasons


def admin_sessions_of(gateway: UpgradedGateway) -> list[str]:
    with gateway.service() as service:
        return [session.id for session in list_sessions(service.database)]


def test_a_control_master_opens_channels_after_an_upgrade(
    laptop: Laptop, gateway: UpgradedGateway, sockets: Path
) -> None:
    """VS Code does the same. Its connection may have no channel at the moment of the upgrade.

    The upgrade is a reload of the unit, which upgrades only to a program that was replaced.
    """
    before, after = gateway.current(), len(gateway.lines)
    assert gateway.upgrade(A, "--or-reload")["state"] == "reloads"
    gateway.wait_for(lambda line: line["event"] == "reloaded", after=after)
    assert gateway.current().pid == before.pid
    lines = (f"ControlPath {sockets}/%C", "ControlMaster auto", "ControlPersist 60")
    for config, host in (
        (laptop.config(*lines), "app01.ssh"),
        (laptop.config(*lines, user="app01"), "gw"),
    ):
        assert laptop.ssh(host, "true", config=config, check=True).returncode == 0
    assert gateway.upgrade(B, "--or-reload")["state"] == "upgraded"
    assert gateway.current().version == B
    for config, host in (
        (laptop.config(*lines), "app01.ssh"),
        (laptop.config(*lines, user="app01"), "gw"),
    ):
        done = laptop.ssh(host, "-O", "check", config=config)
        assert done.returncode == 0, done.stderr
        assert laptop.ssh(host, "echo on", config=config, check=True).stdout == b"on\n"
        laptop.ssh("-O", "exit", host, config=config)
    laptop.ssh("-O", "exit", "gw", config=laptop.config(*lines))


def test_other_settings_close_connections_to_new_channels(
    laptop: Laptop, gateway: UpgradedGateway, sockets: Path
) -> None:
    """An administrator who has taken an app away must not wait a week for it."""
    lines = (f"ControlPath {sockets}/%C", "ControlMaster auto", "ControlPersist 60")
    config = laptop.config(*lines, user="app01")
    with by_ssh(config, "gw") as session:
        session.check(1)
        gateway.file.write_text(gateway.file.read_text() + "\n# another text\n")
        assert gateway.upgrade(B)["code"] == 0
        session.check(2)
        done = laptop.ssh("gw", "-S", "none", "true", config=config)
        assert done.returncode == 0, done.stderr
        refused = laptop.ssh("-o", "ControlMaster no", "gw", "true", config=config)
        assert b"Session open refused by peer" in refused.stderr, refused.stderr
    laptop.ssh("-O", "exit", "gw", config=config)


def test_settings_that_change_after_an_upgrade_close_the_connections_before_it(
    laptop: Laptop, gateway: UpgradedGateway, sockets: Path
) -> None:
    """An older program learns of the reload that takes an app away."""
    lines = (f"ControlPath {sockets}/%C", "ControlMaster auto", "ControlPersist 60")
    config = laptop.config(*lines, user="app01")
    with by_ssh(config, "gw") as session:
        session.check(1)
        for version in (B, A):
            assert gateway.upgrade(version)["code"] == 0
        assert laptop.ssh("gw", "true", config=config, check=True).returncode == 0
        after = len(gateway.lines)
        gateway.file.write_text(gateway.file.read_text() + "\n# another text\n")
        os.kill(gateway.current().pid, signal.SIGHUP)
        gateway.wait_for(lambda line: line["event"] == "reloaded", after=after)

        def refused() -> bool:
            done = laptop.ssh("-o", "ControlMaster no", "gw", "true", config=config)
            return b"Session open refused by peer" in done.stderr

        wait_until(refused)
        session.check(2)
    laptop.ssh("-O", "exit", "gw", config=config)


REASONS = {
    CRASHES: "a fault in a worker: ZeroDivisionError: division by zero",
    BAD_STORE: "it was written by a newer Stagedoor",
    BROKEN: "the new program ended with code 1 while it was starting",
}


@pytest.mark.continuity(2)
def test_a_program_that_does_not_start_changes_nothing_and_the_command_says_why(
    laptop: Laptop, gateway: UpgradedGateway
) -> None:
    before, text = gateway.current().pid, gateway.file.read_text()
    with by_connect(gateway.port(), gateway.token()) as session:
        for number, (version, reason) in enumerate(REASONS.items()):
            gateway.programs.install(version)
            with gateway.of_version(A):
                done = gateway.command("upgrade", "--json", check=False)
            assert done.returncode == 1, done
            assert reason in done.stderr
            assert reason in json.loads(done.stdout)["reason"]
            session.check(number)
        gateway.file.write_text(text + "[nonsense]\nyes = 1\n")
        wrong = gateway.upgrade(B)
        assert wrong["code"] == 2
        assert "nonsense" in wrong["stderr"]
        # Only the program itself finds this.
        gateway.file.write_text(text.replace("localhost.crt", "missing.crt"))
        wrong = gateway.upgrade(B)
        assert wrong["code"] == 1
        assert "missing.crt" in wrong["reason"]
        gateway.file.write_text(text)
        session.check(8)
        assert gateway.current().pid == before
        assert value(metrics(gateway), "stagedoor_gateway_ready ") == 1
        with by_connect(gateway.port(), gateway.token()) as fresh:
            fresh.check(9)
        assert gateway.upgrade(B)["code"] == 0
        session.check(10)
