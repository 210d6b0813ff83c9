"""Each fault of a gateway's machine is found, and named by the check that it belongs to."""

import json
import os
import socket
import sqlite3
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from stagedoor.admin import service as admin
from stagedoor.admin.certificates.authorities import ensure_cas, load_host_ca
from stagedoor.cli.app import stagedoor
from stagedoor.serve.doctor import judge
from stagedoor.serve.doctor.bundle import HIDDEN, remove_secrets
from stagedoor.serve.doctor.gateway import diagnose_settings, list_checks
from stagedoor.settings.file import find_line, load_settings
from stagedoor.wire.check import Check, run_checks
from stagedoor.wire.finding import Finding, Level, Result, ok
from tests.fixtures.gateway import SSH_TABLE, sso
from tests.fixtures.laptop import new_key, open_laptop, public
from tests.net.peers import write_certificate

DAY_S = 86400.0
NOW = 1_800_000_000.0


@dataclass
class Machine:
    """A gateway's machine as it is before the first fault: started once, and stopped."""

    folder: Path
    text: str = ""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def file(self) -> Path:
        return self.folder / "stagedoor.toml"

    def write(self, more: str = "") -> None:
        head = f'data_dir = "{self.data}"\n'
        self.file.write_text(head + (more or '[tunnel]\naddresses = ["127.0.0.1:0"]\n'))

    def results(self) -> list[Result]:
        settings, finding = diagnose_settings(self.file)
        if settings is None:
            return [("settings", finding)]
        return [("settings", finding), *run_checks(list_checks(settings, self.file))]

    def troubles(self) -> list[Result]:
        """Without how fast this machine is now: others' tests may keep it busy."""
        return [
            (check, finding)
            for check, finding in self.results()
            if finding.level is not Level.OK
            and not any(word in finding.what for word in (" takes ", " answers in "))
        ]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    # How fast the machine of the tests is says nothing of the fault: what is slow is judged by other tests.
    monkeypatch.setattr(judge, "SLOW_FSYNC_S", judge.HANGING_FSYNC_S)
    monkeypatch.setattr(judge, "SLOW_STORE_S", judge.HANGING_STORE_S)
    machine = Machine(tmp_path)
    machine.write()
    settings = load_settings(machine.file)
    with admin.open_service(settings) as service:
        admin.add_user(service, "dev")
    ensure_cas(settings)
    return machine


@contextmanager
def serving(answer: bytes) -> Iterator[int]:
    """A server of the test's own that says this to every client, and hangs up."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                with listening.accept()[0] as sock:
                    sock.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)


def test_a_machine_that_is_well_has_no_trouble(machine: Machine) -> None:
    assert machine.troubles() == []


def typo(machine: Machine) -> None:
    machine.write('[tunnel]\naddresses = ["127.0.0.1:0"]\nadresses = []\n')


def no_toml(machine: Machine) -> None:
    machine.write("[tunnel\n")


def wrong_type(machine: Machine) -> None:
    machine.write('[tunnel]\naddresses = ["127.0.0.1:0"]\n\n[workers]\ncount = "two"\n')


def wrong_value(machine: Machine) -> None:
    machine.write('[tunnel]\naddresses = ["127.0.0.1"]\n')


def no_file(machine: Machine) -> None:
    machine.file.unlink()


def open_folder(machine: Machine) -> None:
    machine.data.chmod(0o755)


def no_folder(machine: Machine) -> None:
    machine.data.rename(machine.folder / "away")


def anothers_folder(machine: Machine) -> None:
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    os.chown(machine.data, 12345, 12345)


def open_key(machine: Machine) -> None:
    (machine.data / "keys/user_ca").chmod(0o644)


def damaged_key(machine: Machine) -> None:
    (machine.data / "keys/host_ca").write_text("no key\n")


def other_public_half(machine: Machine) -> None:
    other = new_key(machine.folder / "other")
    (machine.data / "keys/user_ca.pub").write_text(public(other))


def no_key(machine: Machine) -> None:
    (machine.data / "keys/host_ca").unlink()


def tls(machine: Machine, *, key: Path | None = None) -> tuple[Path, Path]:
    certificate, own = write_certificate(machine.folder)
    own.chmod(0o600)
    machine.write(
        f'[tunnel]\ntls_addresses = ["127.0.0.1:0"]\ncertificate_file = "{certificate}"\n'
        f'key_file = "{key or own}"\n'
    )
    return certificate, own


def other_key(machine: Machine) -> None:
    folder = machine.folder / "other"
    folder.mkdir()
    _, key = write_certificate(folder)
    key.chmod(0o600)
    tls(machine, key=key)


def open_tls_key(machine: Machine) -> None:
    tls(machine)[1].chmod(0o644)


def no_certificate(machine: Machine) -> None:
    tls(machine)[0].unlink()


def other_name(machine: Machine) -> None:
    certificate, key = tls(machine)
    machine.write(
        f'[tunnel]\ntls_addresses = ["127.0.0.1:0"]\ncertificate_file = "{certificate}"\n'
        f'key_file = "{key}"\n[web]\ntls_addresses = ["127.0.0.1:0"]\n'
        'public_url = "https://gw.example"\n'
    )


def ssh_certificate_ends(machine: Machine) -> None:
    key = new_key(machine.folder / "host")
    line = load_host_ca(load_settings(machine.file)).sign_host(public(key), ("gw",), DAY_S)
    (machine.folder / "host-cert.pub").write_text(line)
    machine.write(
        '[ssh]\naddresses = ["127.0.0.1:0"]\n'
        f'host_certificate_file = "{machine.folder}/host-cert.pub"\n'
    )


def no_store(machine: Machine) -> None:
    (machine.data / "stagedoor.db").unlink()


def damaged_store(machine: Machine) -> None:
    for file in machine.data.glob("stagedoor.db-*"):
        file.unlink()
    (machine.data / "stagedoor.db").write_bytes(b"this is no database" * 1000)


def newer_store(machine: Machine) -> None:
    with closing(sqlite3.connect(machine.data / "stagedoor.db")) as store, store:
        store.execute("update meta set value = 999 where name = 'compatible_version'")


def older_store(machine: Machine) -> None:
    with closing(sqlite3.connect(machine.data / "stagedoor.db")) as store, store:
        store.execute("update meta set value = 1 where name = 'schema_version'")


def empty_store(machine: Machine) -> None:
    with admin.open_service(load_settings(machine.file)) as service:
        admin.remove_user(service, "dev")


def no_name(machine: Machine) -> None:
    machine.write(
        '[tunnel]\naddresses = ["127.0.0.1:0"]\n[[shells.static]]\napp = "far"\nhost = "no.invalid"\n'
    )


def nobody_there(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    machine.write(
        '[tunnel]\naddresses = ["127.0.0.1:0"]\n[[shells.static]]\napp = "far"\nhost = "127.0.0.1"\n'
        f"port = {port}\n"
    )


def no_provider(machine: Machine) -> None:
    machine.write(
        '[tunnel]\naddresses = ["127.0.0.1:0"]\n'
        + sso(machine.folder, "http://127.0.0.1:1", "https://shell.example/sign-in/sso")
    )


def no_cluster(machine: Machine) -> None:
    machine.write(
        '[tunnel]\naddresses = ["127.0.0.1:0"]\n[kubernetes]\nkubeconfig = "/nowhere/config"\n'
        '[kubernetes.namespaces]\nstaging = "apps"\n'
    )


@pytest.mark.parametrize(
    ("fault", "check", "words"),
    [
        (typo, "settings", "stagedoor.toml:4: tunnel: there is no setting"),
        (no_toml, "settings", "stagedoor.toml:2: "),
        (wrong_type, "settings", "stagedoor.toml:6: workers.count"),
        (wrong_value, "settings", "stagedoor.toml:3: "),
        (no_file, "settings", "there is no settings file"),
        (open_folder, "data folder", "mode 0755"),
        (no_folder, "data folder", "does not exist yet"),
        (anothers_folder, "settings", "belongs to 12345"),
        (open_key, "keys", "user_ca"),
        (damaged_key, "keys", "host_ca"),
        (other_public_half, "keys", "user_ca.pub is not the public half of the user CA"),
        (no_key, "keys", "is missing, and there is a store"),
        (other_key, "settings", "key"),
        (open_tls_key, "settings", "world-readable"),
        (no_certificate, "settings", "cannot read"),
        (tls, "certificates", "localhost.crt is valid until"),
        (ssh_certificate_ends, "certificates", "host-cert.pub is valid until"),
        (no_store, "store", "there is no store"),
        (damaged_store, "store", "stagedoor.db"),
        (newer_store, "store", "newer"),
        (older_store, "store", "`stagedoor serve` brings it up to date"),
        (empty_store, "store", "has no user"),
        (no_name, "shell far", "far at no.invalid port 22 cannot be reached"),
        (nobody_there, "shell far", "Connection refused"),
        (no_provider, "sso Company", "Company does not answer: http://127.0.0.1:1/"),
        (no_cluster, "settings", "/nowhere/config"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_a_fault_is_named_by_its_check(
    machine: Machine, fault: Callable[[Machine], None], check: str, words: str
) -> None:
    fault(machine)
    troubles = machine.troubles()
    assert troubles, "nothing was found"
    assert troubles[0][0] == check, troubles
    assert words in troubles[0][1].what, troubles
    assert troubles[0][1].fix


def test_a_store_that_another_process_does_not_let_go_of(machine: Machine) -> None:
    """It can be read meanwhile. The doctor waits for two seconds, as a login would."""
    with closing(sqlite3.connect(machine.data / "stagedoor.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        [(check, finding)] = machine.troubles()
    assert check == "store"
    assert "locked by another process" in finding.what
    assert finding.fix


def test_a_certificate_for_another_name_than_links_lead_to(machine: Machine) -> None:
    other_name(machine)
    # The disk of a busy machine may be another trouble.
    [_, name] = [finding for check, finding in machine.troubles() if check == "certificates"]
    assert "is not for gw.example" in name.what


def test_a_port_that_another_program_has_is_named_with_the_setting(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        machine.write(f'[tunnel]\naddresses = ["127.0.0.1:{port}"]\n')
        [(check, finding)] = machine.troubles()
    assert check == "sockets"
    assert "tunnel.addresses" in finding.what
    assert str(port) in finding.fix


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"Not allowed at this time\r\n", "PerSourcePenalties"),
        (b"Exceeded MaxStartups\r\n", "too many logins"),
        (b"HTTP/1.1 400 Bad Request\r\n", "does not speak SSH"),
        (b"", "closes the connection without a greeting"),
    ],
)
def test_a_static_shell_that_is_no_open_sshd_is_told_apart(
    machine: Machine, answer: bytes, words: str
) -> None:
    with serving(answer) as port:
        machine.write(
            '[tunnel]\naddresses = ["127.0.0.1:0"]\n[[shells.static]]\napp = "far"\n'
            f'host = "127.0.0.1"\nport = {port}\n'
        )
        [(check, finding)] = machine.troubles()
    assert (check, finding.level) == ("shell far", Level.FAIL)
    assert words in finding.what


@pytest.mark.parametrize(
    ("finding", "level", "words"),
    [
        (judge.judge_fsync([0.004, 3.0, 0.002], "/d"), "ok", "4.0 ms"),
        (judge.judge_fsync([0.2] * 3, "/d"), "warn", "200.0 ms"),
        (judge.judge_fsync([2.0] * 3, "/d"), "fail", "2000.0 ms"),
        (judge.judge_store_time(0.3, "db"), "warn", "300.0 ms"),
        (judge.judge_store_time(3, "db"), "fail", "db answers in"),
        (judge.judge_space(0, "/d"), "fail", "0 MiB are free"),
        (judge.judge_space(100 * 2**20, "/d"), "warn", "100 MiB"),
        (judge.judge_clock(NOW, NOW + 60), "fail", "60.0 s behind the store's"),
        (judge.judge_clock(NOW, NOW - 5), "warn", "5.0 s ahead of"),
        (judge.judge_clock(NOW, NOW - 0.1), "ok", "0.1 s"),
        (judge.judge_clock(86400, None), "fail", "1970-01-02"),
        (judge.judge_descriptors(1024), "warn", "1024 file descriptors"),
        (judge.check_certificate("c", 0, NOW - 1, NOW, "renew"), "fail", "expired"),
        (
            judge.check_certificate("c", NOW + 9, NOW + DAY_S, NOW, "renew"),
            "fail",
            "not valid before",
        ),
        (judge.check_certificate("c", 0, NOW + DAY_S, NOW, "renew"), "warn", "is valid until"),
        (judge.check_certificate_name("c", "gw.example", {"*.example"}), "ok", "is for gw.example"),
        (judge.check_certificate_name("c", "GW.example", {"gw.example"}), "ok", "is for"),
        (judge.check_certificate_name("c", "a.gw.example", {"*.example"}), "warn", "is not for"),
        (
            judge.judge_host_key("x at h", ["ssh-ed25519 AAAA me"], "ssh-ed25519 AAAA"),
            "ok",
            "has the",
        ),
        (
            judge.judge_host_key("x at h", ["ssh-ed25519 AAAA"], "ssh-ed25519 BBBB"),
            "fail",
            "another",
        ),
        (
            judge.judge_host_key("x at h", ["ssh-ed25519 AAAA"], None),
            "fail",
            "does not have the host key",
        ),
    ],
)
def test_what_a_measure_means(finding: Finding, level: str, words: str) -> None:
    assert finding.level == level
    assert words in finding.what
    assert bool(finding.fix) == (level != "ok")


def test_a_server_cannot_write_to_the_terminal_of_whoever_asks() -> None:
    for said in (b"SSH-2.0-\x1b]0;x\x07\xe2\x80\xae", b"\x1b[2J\r hello"):
        finding = judge.judge_ssh_greeting("far at h", said)
        assert finding.what.isprintable(), finding.what


def test_a_check_that_breaks_keeps_no_other_from_running() -> None:
    def broken() -> Iterator[Finding]:
        yield ok("so far")
        raise KeyError("x")

    results = list(run_checks([Check("a", broken), Check("b", lambda: [ok("fine")])]))
    assert [(name, found.level) for name, found in results] == [
        ("a", "ok"), ("a", "fail"), ("b", "ok"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("web.tls_addresses needs tunnel.certificate_file", 2),
        ("shells.local[0].app: Expected `str`", 6),
        ("nothing that is there", None),
    ],
)
def test_the_line_of_a_message(message: str, line: int | None) -> None:
    text = '[web]\ntls_addresses = [":443"]\n\n[[shells.local]]\n# an app\napp = 1\n'
    assert find_line(text, message) == line


SECRETS = (
    "s3cr3t-env",
    "s3cr3t-annotation",
    "s3cr3t-webhook",
    "s3cr3t-label",
    "s3cr3t-image",
    "s3cr3t-holder",
)


def test_a_bundle_holds_what_was_found_and_no_secret(machine: Machine) -> None:
    machine.write(
        '[tunnel]\naddresses = ["127.0.0.1:0"]\n'
        '[store]\nurl = "postgresql://me@127.0.0.1:1/db"\n'
        '[[shells.local]]\napp = "a"\nenv = {KEY = "s3cr3t-env"}\n'
        '[[shells.static]]\napp = "b"\nhost = "b.example"\nholder = "holder --token s3cr3t-holder"\n'
        '[controller]\npod_annotations = {"x/y" = "s3cr3t-annotation"}\n'
        'pod_labels = {"x/y" = "s3cr3t-label"}\nkit_image = "me:s3cr3t-image@registry.example/kit:1"\n'
        '[web]\naddresses = ["127.0.0.1:0"]\npublic_url = "https://gw.example"\n'
        '[[audit.sinks]]\nname = "hook"\nurl = "https://hooks.example/services/s3cr3t-webhook"\n'
    )
    bundle = machine.folder / "report.tar"
    command = ["--config", str(machine.file), "doctor", "--bundle", str(bundle), "--json"]
    done = CliRunner().invoke(stagedoor, command)
    assert done.exit_code == 2, done.output
    assert not bundle.exists() or bundle.stat().st_mode & 0o777 == 0o600
    with tarfile.open(bundle) as tar:
        pages = {m.name: tar.extractfile(m).read().decode() for m in tar}  # type: ignore[union-attr]
    whole = "\n".join(pages.values())
    assert not [secret for secret in SECRETS if secret in whole]
    assert set(pages) >= {f"stagedoor-report/{n}.json" for n in ("doctor", "versions", "settings")}
    shown = json.loads(pages["stagedoor-report/settings.json"])
    assert shown["web"]["public_url"]
    assert shown["shells"]["static"][0]["host"] == "b.example"
    assert shown["shells"]["local"][0]["env"] == HIDDEN
    assert shown["audit"]["sinks"][0]["url"] == "https://hooks.example/…"
    again = CliRunner().invoke(stagedoor, command)
    assert "File exists" in str(again.exception), "nothing is overwritten"


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("store.url", '[store]\nurl = "postgresql://me:hunter2@127.0.0.1:1/db"\n'),
        *(
            ("audit.sinks.url", f'[[audit.sinks]]\nname = "a"\nurl = "{url}"\n')
            for url in (
                "htps://hooks.example/hunter2",
                "http://hooks.example/hunter2",
                "https://hooks.example/hunter2 x",
                "https://hooks.example:hunter2/",
                "hooks.example/hunter2",
            )
        ),
    ],
)
def test_a_secret_in_settings_that_are_refused_is_in_no_finding(
    machine: Machine, name: str, table: str
) -> None:
    machine.write(table)
    [(_, finding)] = machine.troubles()
    assert name in finding.what
    assert "hunter2" not in finding.what


@pytest.mark.parametrize(
    "text",
    [
        "https://me:t0k3n-in-url@gw/x",
        "https://me:not@t0k3n-in-url@gw/x",
        "postgresql:///db?password=t0k3n-in-url&x=1",
        "https://intake.example/v2/logs?dd-api-key=t0k3n-in-url",
        "https://intake.example/v2/logs?t0k3n-in-url",
    ],
)
def test_a_url_loses_its_credential(text: str) -> None:
    shown = json.loads(remove_secrets(json.dumps([text, "and what follows"])))
    assert "t0k3n" not in shown[0]
    assert shown[1] == "and what follows"


def test_the_doctor_of_a_gateway_that_runs_knows_its_ports(machine: Machine) -> None:
    from stagedoor.net.greeting import is_listening

    with socket.create_server(("127.0.0.1", 0)) as own:
        port = own.getsockname()[1]
        assert is_listening(os.getpid(), port)
        assert not is_listening(1, port) or os.getpid() == 1
    deadline = time.monotonic() + 5
    while is_listening(os.getpid(), port):
        assert time.monotonic() < deadline


def test_a_static_shell_without_host_keys_has_to_show_a_certificate(machine: Machine) -> None:
    with open_laptop(machine.folder / "far", SSH_TABLE) as far:
        machine.write(
            '[tunnel]\naddresses = ["127.0.0.1:0"]\n[web]\naddresses = ["127.0.0.1:0"]\n'
            f'[[shells.static]]\napp = "far"\nhost = "127.0.0.1"\nport = {far.port}\n'
        )
        findings = [finding for name, finding in machine.results() if name == "shell far"]
    assert [entry.level for entry in findings] == [Level.OK, Level.WARN, Level.OK]
    assert "certificate is of another CA, so ssh refuses it as far.ssh" in findings[1].what
    assert "no holder in its entry, so the WebShell refuses it" in findings[2].what


def test_shells_whose_tunnels_the_gateway_keeps_are_named(machine: Machine) -> None:
    static = '[[shells.static]]\napp = "{0}"\nhost = "127.0.0.1"\nport = 9\nlogin_name = "me"\n'
    shells = f'{static.format("near")}{static.format("far")}resume_port = 9\n[[shells.local]]\napp = "here"\n'
    kept = []
    for resume_s in (60, 0):
        machine.write(f'[tunnel]\naddresses = ["127.0.0.1:0"]\nresume_s = {resume_s}\n{shells}')
        kept.append([finding.what for check, finding in machine.results() if check == "tunnels"])
    assert kept == [["the gateway keeps the tunnels of here, near"], []]


def test_a_static_shell_whose_endpoint_of_tunnels_is_away_is_named(machine: Machine) -> None:
    with (
        open_laptop(machine.folder / "far", SSH_TABLE) as far,
        socket.create_server(("127.0.0.1", 0)) as endpoint,
    ):
        port = endpoint.getsockname()[1]
        machine.write(
            '[tunnel]\naddresses = ["127.0.0.1:0"]\n[[shells.static]]\napp = "far"\nhost = "127.0.0.1"\n'
            f'port = {far.port}\nlogin_name = "me"\nresume_port = {port}\n'
        )
        levels = []
        for _ in range(2):
            *_, last = [finding for name, finding in machine.results() if name == "shell far"]
            levels.append(last.level)
            endpoint.close()
    assert levels == [Level.OK, Level.WARN]
    assert f"port {port}, its resume_port, cannot be reached" in last.what
    assert "stagedoor-tunnels@me" in last.fix


def test_a_real_sshd_whose_host_key_was_changed_is_told(machine: Machine) -> None:
    """A real gateway's SSH port serves as the static shell's sshd."""
    text = (
        '[[shells.static]]\napp = "far"\nhost = "127.0.0.1"\nport = {port}\nhost_keys = ["{key}"]\n'
    )
    with open_laptop(machine.folder / "far", SSH_TABLE) as far:
        for folder, level in ((far.gateway.data_dir / "keys", "ok"), (None, "fail")):
            key = folder / "ssh_host_key" if folder else new_key(machine.folder / "other")
            line = " ".join(public(key).split()[:2])
            machine.write(
                '[tunnel]\naddresses = ["127.0.0.1:0"]\n' + text.format(port=far.port, key=line)
            )
            [greeted, compared] = [
                found for name, found in machine.results() if name == "shell far"
            ]
            assert greeted.level is Level.OK
            assert compared.level == level
