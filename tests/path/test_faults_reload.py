"""SIGHUP: good settings come into force, bad ones change nothing, and no session notices."""

import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.net.tls import make_client_context
from tests.fixtures.gateway import static
from tests.listeners.wire import dialled, eventually, head, read_answer
from tests.net.peers import TlsPeer, write_certificate
from tests.path.faulty import Faulty, serving
from tests.ports import free_port


class Reloaded(Faulty):
    """With TLS besides."""

    tls_port: int
    certificate: Path

    def tables(self, extra: str = "", *, addresses: str = "", workers: int = 1) -> str:
        return (
            f'[tunnel]\naddresses = ["127.0.0.1:{self.own_port}"{addresses}]\n'
            f'tls_addresses = ["127.0.0.1:{self.tls_port}"]\n'
            f'certificate_file = "{self.certificate}"\n'
            f'key_file = "{self.certificate.with_suffix(".key")}"\n'
            f"[workers]\ncount = {workers}\ndrain_timeout_s = {self.drain_timeout_s}\n" + extra
        )

    def reload(self, settings: str | None = None) -> dict[str, object]:
        """Send SIGHUP; the line that says how it went."""
        if settings is not None:
            self.write_settings(self.all(settings))
        after = len(self.lines)
        self.signal(signal.SIGHUP)
        return self.wait_for(
            lambda line: line["event"].startswith(("reloaded", "reload refused")), after=after
        )

    def over_tls(self, trusted: Path) -> int:
        """Return the status of a login by a client that trusts this certificate alone."""
        with dialled(self.tls_port) as plain:
            client = TlsPeer(plain.sock, make_client_context(trusted))
            client.handshake()
            client.send(head("app01-ssh:22", self.auth))
            status = read_answer(client).status
            if status == 200:
                self.upstream.accept().close()
            return status


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reloaded]:
    folder = tmp_path_factory.mktemp("reload")
    one = Reloaded(folder, drain_timeout_s=2)
    one.tls_port = free_port()
    one.certificate, _ = write_certificate(folder)
    one.write_settings(one.all(one.tables()))
    try:
        one.start()
        yield one
        one.upstream.hang_up()
        one.stop()
        one.assert_clean()
    finally:
        one.stop()
        one.upstream.close()


def test_new_settings_come_into_force_and_live_sessions_go_on(gateway: Reloaded) -> None:
    with gateway.entered() as inside:
        assert gateway.ask("app02-ssh:22") == 404
        before = gateway.worker_pids()
        done = gateway.reload(gateway.tables(static("app02", gateway.upstream.port), workers=2))
        assert done["event"] == "reloaded"
        assert gateway.ask("app02-ssh:22") == 200, "at once, on the same port"
        inside.works()
        assert set(before) < set(gateway.worker_pids())
        inside.end()
        eventually("the old one goes", lambda: not set(before) & set(gateway.worker_pids()))
        assert gateway.wait_for_ends(inside) == {inside.session: "closed"}
    assert gateway.reload(gateway.tables())["event"] == "reloaded"
    assert gateway.ask("app02-ssh:22") == 404


BAD = {
    "no TOML": ("[tunnel\n", "not valid TOML"),
    "an unknown setting": ("{tables}\n[listen]\nnetwork = []\n", "listen"),
    "a wrong value": ("{tables}\n[ssh]\npublic_port = 0\n", "ssh.public_port"),
    "a port that is taken": ("{taken}", "tunnel.addresses"),
    "a certificate that is gone": ("{gone}", "tunnel.certificate_file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_change_nothing_and_say_why(gateway: Reloaded, name: str) -> None:
    text, reason = BAD[name]
    eventually("no old worker is left", lambda: len(gateway.worker_pids()) == 1)
    workers = gateway.worker_pids()
    with socket.create_server(("127.0.0.1", 0)) as taken, gateway.entered() as inside:
        also = f', "127.0.0.1:{taken.getsockname()[1]}"'
        text = text.replace("{tables}", gateway.tables())
        text = text.replace("{taken}", gateway.tables(addresses=also))
        text = text.replace("{gone}", gateway.tables().replace("localhost.crt", "gone.crt"))
        refused = gateway.reload(text)
        assert refused["event"] == "reload refused: nothing has changed"
        assert reason in str(refused["reason"])
        inside.works()
        assert gateway.worker_pids() == workers
        assert gateway.ask() == 200
        assert gateway.over_tls(gateway.certificate) == 200
    gateway.write_settings(gateway.all(gateway.tables()))


def test_a_changed_certificate_is_served_and_a_bad_one_is_not(
    gateway: Reloaded, tmp_path: Path
) -> None:
    key_file = gateway.certificate.with_suffix(".key")
    old = gateway.certificate.read_bytes()
    other, other_key = write_certificate(tmp_path)
    with dialled(gateway.tls_port) as plain:
        inside = TlsPeer(plain.sock, make_client_context(gateway.certificate))
        inside.handshake()
        inside.send(head("app01-ssh:22", gateway.auth))
        assert read_answer(inside).status == 200
        far = gateway.upstream.accept()

        gateway.certificate.write_bytes(other.read_bytes())  # the key does not belong to it
        refused = gateway.reload()
        assert "does not belong" in str(refused["reason"])
        trusted = tmp_path / "old.crt"
        trusted.write_bytes(old)
        assert gateway.over_tls(trusted) == 200

        key_file.write_bytes(other_key.read_bytes())
        assert gateway.reload()["event"] == "reloaded"
        assert gateway.over_tls(other) == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            gateway.over_tls(trusted)
        inside.send(b"still here")
        assert far.read_exactly(10) == b"still here"


def test_who_is_inside_since_before_a_reload_has_the_whole_drain_time_at_the_stop(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, drain_timeout_s=8) as gateway, gateway.entered() as inside:
        gateway.signal(signal.SIGHUP)
        gateway.wait_for_event("reloaded")
        time.sleep(8.1)  # longer than the drain time: that it passes is what is tried
        gateway.signal(signal.SIGTERM)
        gateway.wait_for_event("draining")
        left = {"event": "sessions left", "sessions": 1}
        gateway.wait_for(lambda line: left.items() <= line.items())
        inside.works()
        inside.end()
        assert gateway.process is not None
        assert gateway.process.wait(60) == 0
        assert gateway.closed()[inside.session][0] == "closed"
