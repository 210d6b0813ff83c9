"""A PostgreSQL server that is away: the answers to people and probes, and what goes on meanwhile."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.certificates.authorities import ensure_user_key
from stagedoor.settings.store_location import StoreServer
from tests.fixtures.gateway import Gateway
from tests.listeners.wire import dialled, eventually, head, read_answer
from tests.openssh import KEX
from tests.path.test_health import asked
from tests.ports import free_port
from tests.store.server import PostgresqlHere, server_here
from tests.waiting import BOUND_S


@pytest.fixture
def server() -> Iterator[PostgresqlHere]:
    """One of this test's own, which it may stop."""
    with server_here() as here:
        yield here


def gateway_on(folder: Path, store: StoreServer, health: int, more: str = "") -> Gateway:
    return Gateway(
        folder,
        f'[store]\nurl = "{store.url}"\npassword_file = "{store.password_file}"\n'
        f'[health]\naddress = "127.0.0.1:{health}"\n{more}',
    )


def answers(port: int, path: str, status: int) -> bool:
    with contextlib.suppress(OSError):
        return asked(port, path)[0] == status
    return False


def test_a_gateway_that_starts_meanwhile_waits_inside_and_then_serves(
    tmp_path: Path, server: PostgresqlHere
) -> None:
    store, port = server.database(), free_port()
    server.stop()
    with gateway_on(tmp_path, store, port) as gateway:
        gateway.launch()
        fails = gateway.wait_for(lambda line: line.get("part") == "store")
        assert "cannot be reached" in fails["reason"]
        assert asked(port, "/healthz") == (200, "alive\n")
        status, text = asked(port, "/readyz")
        assert (status, text.split(",")[0]) == (503, "waiting for the store")
        assert str(server.folder) not in text
        server.start()
        gateway.wait_for(lambda line: line["event"] == "works again" and line["part"] == "store")
        gateway.wait_for(lambda line: line["event"] == "serving")
        assert asked(port, "/readyz")[0] == 200


def test_a_gateway_that_waits_ends_when_it_is_told_to(
    tmp_path: Path, server: PostgresqlHere
) -> None:
    store = server.database()
    server.stop()
    with gateway_on(tmp_path, store, free_port()) as gateway:
        gateway.launch()
        gateway.wait_for(lambda line: line.get("part") == "store")
        gateway.signal(signal.SIGHUP)
        gateway.signal(signal.SIGTERM)
        assert gateway.process is not None
        assert gateway.process.wait(BOUND_S) == 0
        assert not [line for line in gateway.lines if line["event"] == "serving"]


def test_what_will_not_pass_by_itself_ends_the_start_at_once(
    tmp_path: Path, server: PostgresqlHere
) -> None:
    store = server.database()
    assert store.password_file is not None
    store.password_file.write_text("wrong\n")
    with gateway_on(tmp_path, store, free_port()) as gateway:
        gateway.launch()
        assert gateway.process is not None
        assert gateway.process.wait(BOUND_S) == 1


def test_people_are_told_of_the_outage_and_get_in_as_soon_as_it_is_over(
    tmp_path: Path, server: PostgresqlHere
) -> None:
    """35 s of it, since the gateway trusts what it last read for 30 s; all of it waiting."""
    store = server.database()
    ssh_port, key = free_port(), tmp_path / "id_ed25519"
    more = (
        f'[[shells.local]]\napp = "app01"\n[ssh]\naddresses = ["127.0.0.1:{ssh_port}"]\n'
        'host_names = ["127.0.0.1"]\n'
    )
    with gateway_on(tmp_path, store, free_port(), more) as gateway:
        with gateway.service() as service:
            admin.add_user(service, "dev", password="correct horse battery staple")
            admin.add_grant(service, "user:dev", "app01")
            admin.add_keys(service, "dev", [ensure_user_key(key)])
            token = admin.create_token(service, "dev").text
        gateway.start()
        proxy = (
            f"{sys.executable} -m stagedoor tunnel --gateway 127.0.0.1:{gateway.port()} "
            f"--user dev --token-file {tmp_path}/token %h %p"
        )
        (tmp_path / "token").touch(mode=0o600)
        (tmp_path / "token").write_text(token)

        def ssh(*arguments: str) -> "subprocess.CompletedProcess[str]":
            base = ("ssh", "-F", "none", "-i", str(key), "-o", "IdentitiesOnly=yes")
            quiet = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
            return subprocess.run(
                [*base, *quiet, "-o", "BatchMode=yes", "-o", KEX, *arguments],
                capture_output=True,
                text=True,
                timeout=BOUND_S,
                stdin=subprocess.DEVNULL,
            )

        through = ("-o", f"ProxyCommand={proxy}", "app01.ssh", "echo in")
        direct = ("-p", str(ssh_port), "app01@127.0.0.1", "echo in")
        for way in (through, direct):
            assert ssh(*way).stdout == "in\n", ssh(*way).stderr
        server.stop()

        def connect() -> tuple[int, str]:
            with dialled(gateway.port()) as client:
                client.send(head("app01-ssh:22", f"Proxy-Authorization: Bearer {token}"))
                answer = read_answer(client)
                return answer.status, answer.message

        said: set[str] = set()

        def closed() -> bool:
            status, text = connect()
            assert status == 503, text
            said.add(text)
            return "cannot read its policy" in text

        eventually("all logins are refused", closed, costly=True)
        denied = ssh(*direct)
        assert "all logins are refused for now" in denied.stderr
        assert "Permission denied" not in denied.stderr
        for text in [*said, denied.stderr]:
            for secret in (str(server.folder), "postgresql://", store.url):
                assert secret not in text, text

        server.start()
        outcomes: list[str] = []

        def back() -> bool:
            done = ssh(*direct)
            outcomes.append(done.stderr)
            return done.stdout == "in\n"

        eventually("they get in again", back, costly=True)
        assert ssh(*through).stdout == "in\n"
        for text in outcomes:
            assert "Permission denied" not in text, text
            assert "must trust" not in text, text
