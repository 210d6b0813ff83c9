"""Faults on the path, injected by servers of the test's own: the walk ends at the hop that fails."""

import contextlib
import datetime
import os
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from stagedoor.cli.app import stagedoor
from stagedoor.laptop import web
from stagedoor.laptop.doctor.path import PathOptions, check_path, find_web_options
from stagedoor.laptop.doctor.walk import SshProgram
from stagedoor.laptop.tunnel.options import Options
from stagedoor.laptop.web import WebConnection
from stagedoor.wire.finding import Level, Result
from tests.fixtures.gateway import PASSWORD, SSH_TABLE, local
from tests.fixtures.laptop import new_key, open_laptop, write_ssh_config
from tests.laptop.scripted_gateway import OPENED, ScriptedGateway, answering, refusing
from tests.net.peers import write_certificate

TOKEN = "sdt_a-token-that-nobody-may-see"
SSHD = answering(OPENED, b"SSH-2.0-OpenSSH_10.0\r\n")


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(TOKEN)
    return file


def walked(gateway: str, token: Path | None, how: str = "connect", **more: str) -> list[Result]:
    """By a HOST of which ssh knows nothing, so that a walk that comes so far ends there."""
    given = {"--gateway": gateway, "--user": "dev"} | {f"--{k}": v for k, v in more.items()}
    if token is not None:
        given["--token-file"] = str(token)
    env = {"HOME": "/nonexistent", "PATH": os.environ["PATH"]}
    return list(check_path(PathOptions("app01.ssh", how, given, env)))  # type: ignore[arg-type]


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def saying(answer: bytes, *, waits: bool = False) -> Iterator[int]:
    """A server for one client, which says this; with `waits`, once something has come."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with listening.accept()[0] as sock:
                if waits:
                    sock.recv(65536)
                sock.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(60)


def tls(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    certificate, key = write_certificate(folder, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


@pytest.mark.parametrize(
    ("status", "hop"),
    [(407, "credential"), (429, "credential"), (403, "grant"), (404, "shell"), (502, "shell"),
     (503, "shell"), (504, "shell"), (500, "gateway")],
)  # fmt: skip
def test_a_refusal_ends_the_walk_at_its_hop(token: Path, status: int, hop: str) -> None:
    with ScriptedGateway([refusing(status, "no, and why", "Retry-After: 600")]) as gateway:
        results = walked(gateway.address, token)
    assert [name for name, _ in results] == ["name", "gateway", hop]
    assert results[-1][1].level is Level.FAIL
    assert "no, and why" in results[-1][1].what
    assert all(TOKEN not in finding.what + finding.fix for _, finding in results)


def test_a_name_and_a_port_that_are_not_there(token: Path) -> None:
    [(hop, finding)] = walked("nowhere.invalid:1", token)
    assert (hop, finding.level) == ("name", Level.FAIL)
    [(hop, finding)] = walked(f"127.0.0.1:{free()}", token)
    assert hop == "gateway"
    assert "refused" in finding.what


def test_no_credential_is_told_before_the_gateway_is_asked(tmp_path: Path) -> None:
    with ScriptedGateway([SSHD]) as gateway:
        hop, finding = walked(gateway.address, None)[-1]
        assert gateway.requests == []
    assert (hop, finding.level) == ("credential", Level.FAIL)


def test_which_port_speaks_what(token: Path, tmp_path: Path) -> None:
    context, _ = tls(tmp_path, "localhost")
    with ScriptedGateway([SSHD], context) as gateway:
        hop, finding = walked(gateway.address, token)[-1]
        assert (hop, finding.level) == ("gateway", Level.FAIL)
    with saying(b"HTTP/1.1 400 Bad Request\r\n\r\n", waits=True) as port:
        hop, finding = walked(f"https://127.0.0.1:{port}", token)[-1]
        assert hop == "TLS"
        assert "http://" in finding.what


def test_certificates_are_checked_by_issuer_and_name_and_end(token: Path, tmp_path: Path) -> None:
    context, trusted = tls(tmp_path, "localhost")
    with ScriptedGateway([SSHD], context) as gateway:
        at = f"https://localhost:{gateway.port}"
        assert "not trusted" in walked(at, token)[-1][1].what
        named = {"ca-file": str(trusted), "server-name": "gw.example"}
        hop, finding = walked(at, token, **named)[-1]
        assert (hop, "gw.example" in finding.what) == ("TLS", True)
        results = dict(walked(at, token, **{"ca-file": str(trusted)}))
    assert results["TLS"].level is Level.WARN, "it expires within a day"
    assert results["sshd"].level is Level.OK


def test_a_corporate_proxy_that_refuses_is_named(token: Path) -> None:
    with ScriptedGateway([refusing(403, "not on the list")]) as proxy:
        hop, finding = walked("gw.example:80", token, via=f"http://{proxy.address}")[-1]
    assert hop == "corporate proxy"
    assert "not on the list" in finding.what


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"Not allowed at this time\r\n", "PerSourcePenalties"),
        (b"HTTP/1.1 400 x\r\n", "not speak SSH"),
    ],
)
def test_an_sshd_that_is_none(token: Path, said: bytes, words: str) -> None:
    with ScriptedGateway([answering(OPENED, said)]) as gateway:
        hop, finding = walked(gateway.address, token)[-1]
    assert hop == "sshd"
    assert words in finding.what


@pytest.mark.parametrize("how", ["jump", "direct"])
def test_a_port_that_speaks_no_ssh(token: Path, how: str) -> None:
    with saying(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        results = walked(f"127.0.0.1:{port}", token, how)
    assert [name for name, _ in results] == ["name", "gateway", "sshd"]
    assert "SSH port" in results[-1][1].fix


@pytest.mark.parametrize(
    ("answer", "hop"),
    [
        (b'HTTP/1.1 401 No\r\nContent-Length: 16\r\n\r\n{"message":"no"}', "credential"),
        (b'HTTP/1.1 403 No\r\nContent-Length: 16\r\n\r\n{"message":"no"}', "grant"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "corporate proxy"),
        (b"SSH-2.0-OpenSSH_10.0\r\n\r\n", "gateway"),
    ],
)
def test_the_web_s_path_ends_at_its_hop(token: Path, answer: bytes, hop: str) -> None:
    with ScriptedGateway([answering(answer)]) as gateway:
        name, finding = walked(f"http://{gateway.address}", token, "web")[-1]
    assert (name, finding.level) == (hop, Level.FAIL)


@pytest.mark.parametrize("with_token", [True, False])
def test_a_missing_credential_is_mended_by_a_login_where_the_gateway_offers_it(
    token: Path, with_token: bool
) -> None:
    for said, offered in ((b'{"message":"no","login":true}', True), (b'{"message":"no"}', False)):
        answer = b"HTTP/1.1 401 No\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said)
        with ScriptedGateway([answering(answer)]) as gateway:
            url = f"http://{gateway.address}"
            hop, finding = walked(url, token if with_token else None, "web")[-1]
        assert (hop, finding.level) == ("credential", Level.FAIL)
        assert finding.fix.startswith("make a token ")
        assert finding.fix.endswith(f"; or log in: stagedoor login {url}") == offered


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://gw.example", "gw.example"),
        ("https://gw.example:80/path", "gw.example:80"),
        ("http://[::1]", "[::1]"),
        ("http://[::1]:443", "[::1]:443"),
    ],
)
def test_the_web_is_asked_by_the_name_that_its_url_has(
    url: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "reach", lambda options: None)  # nothing is sent
    scheme, _, place = url.partition("://")
    place, slash, path = place.partition("/")
    options = Options({"--gateway": f"{scheme}://{place}", "--user": "dev"}, ["app01"], {})
    connection = WebConnection(options, slash + path)
    assert connection._host == host
    assert connection.find_login_hint({"login": True}).endswith(
        f" stagedoor login {scheme}://{host}{slash}{path}"
    )
    assert connection.find_login_hint({}) == ""


def test_the_login_of_the_machine_is_the_web_s_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "stagedoor" / "gw.example_8443"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text('{"gateway": "https://gw.example:8443", "user": "alice"}')
    (folder / "secret").write_text("sgl_x\n")
    named = {"--gateway": "https://GW.example:8443/path"}
    assert find_web_options(named, {}) == (
        {
            "--gateway": "https://GW.example:8443",
            "--user": "alice",
            "--token-file": str(folder / "secret"),
        },
        "/path",
    )
    for more, env in (({"--user": "bob"}, {}), ({}, {"STAGEDOOR_TOKEN_FILE": "/t"})):
        given, _ = find_web_options(named | more, env)
        assert "--token-file" not in given


def test_a_clock_that_is_wrong_is_told(token: Path) -> None:
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    date = past.strftime("%a, %d %b %Y %H:%M:%S GMT")
    answer = f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 2\r\n\r\n{{}}"
    with ScriptedGateway([answering(answer.encode())]) as gateway:
        hop, finding = walked(f"http://{gateway.address}", token, "web")[-1]
    assert hop == "clock"
    assert "ahead of the gateway's" in finding.what


def test_a_bundle_of_a_developer_holds_no_token(token: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "report.tar"
    with ScriptedGateway([refusing(403, "no")]) as gateway:
        command = ["doctor", "app01.ssh", "--how", "connect", "--gateway", gateway.address]
        command += ["--user", "dev", "--token-file", str(token), "--bundle", str(bundle)]
        done = CliRunner().invoke(stagedoor, command)
    assert done.exit_code == 2, done.output
    with tarfile.open(bundle) as tar:
        whole = b"".join(tar.extractfile(member).read() for member in tar)  # type: ignore[union-attr]
    assert b"is not open to dev" in whole
    assert TOKEN.encode() not in whole


@pytest.fixture(scope="module")
def settings() -> str:
    return '[web]\naddresses = ["127.0.0.1:0"]\n' + SSH_TABLE + local("app01")


def test_each_way_to_a_real_gateway_is_walked_to_its_end(settings: str, tmp_path: Path) -> None:
    """One real gateway and a dozen logins by stock ssh: some twenty seconds."""
    with open_laptop(tmp_path, settings) as laptop:
        secret = tmp_path / "secret"
        secret.touch(mode=0o600)
        secret.write_text(PASSWORD)
        gateway = laptop.gateway
        env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        tunnel = (
            f"{sys.executable} -m stagedoor tunnel --gateway 127.0.0.1:{gateway.port()} --user dev "
            f"--via direct --token-file {secret} %h %p"
        )
        through = tmp_path / "through"
        through.write_text(
            f"Host *-ssh\n  ProxyCommand {tunnel}\n  ProxyJump none\n" + laptop.config().read_text()
        )
        for host, config, idle_s in (
            ("app01-ssh", through, None),
            ("app01-ssh", laptop.config(), 1.0),
            ("app01@gw", laptop.config(), None),
        ):
            results = dict(
                check_path(PathOptions(host, None, {}, env, ssh_config=str(config), idle_s=idle_s))
            )
            assert {finding.level for finding in results.values()} == {Level.OK}, results
            assert results.keys() >= {"name", "gateway", "sshd", "key", "clock", "large packets"}
            assert ("credential" in results) == (config == through)
            assert ("idle timeout" in results) == (idle_s is not None)
        web = {"--gateway": f"http://127.0.0.1:{gateway.port('web')}", "--user": "dev"}
        web["--token-file"] = str(secret)
        results = dict(check_path(PathOptions("app01", "web", web, env)))
        assert {finding.level for finding in results.values()} == {Level.OK}, results
        assert results["shell"].what == "the shell of app01 is running; open terminals: 0"

        stranger = laptop.config(key=new_key(tmp_path / "stranger"))
        wish = PathOptions("app01-ssh", None, {}, env, ssh_config=str(stranger))
        hop, finding = list(check_path(wish))[-1]
        assert (hop, finding.level) == ("key", Level.FAIL), finding
        # In plain ssh's words the gateway's reason is three lines above the last.
        wish = PathOptions("app02-ssh", None, {}, env, ssh_config=str(laptop.config()))
        hop, finding = list(check_path(wish))[-1]
        assert (hop, finding.level) == ("grant", Level.FAIL), finding
        assert "no grant for 'dev' to enter app02" in finding.what
        (tmp_path / "known_hosts").write_text("")
        hop, finding = list(
            check_path(PathOptions("app01-ssh", None, {}, env, ssh_config=str(through)))
        )[-1]
        assert (hop, finding.level) == ("host certificate", Level.FAIL), finding


def test_a_clock_that_is_behind_shows_by_a_host_certificate(tmp_path: Path) -> None:
    """A real sshd whose certificate begins in an hour, as for a machine whose clock is an hour behind."""
    authority, host = new_key(tmp_path / "authority"), new_key(tmp_path / "host")
    sign = ["ssh-keygen", "-q", "-s", authority, "-h", "-I", "host", "-n", "app01.ssh"]
    subprocess.run([*sign, "-V", "+1h:+2h", f"{host}.pub"], check=True)
    (tmp_path / "known").write_text(
        f"@cert-authority * {authority.with_suffix('.pub').read_text()}"
    )
    (tmp_path / "sshd").write_text(f"HostKey {host}\nHostCertificate {host}-cert.pub\n")
    proxy = f"ProxyCommand /usr/sbin/sshd -i -f {tmp_path}/sshd"
    config = write_ssh_config(tmp_path / "config", host, proxy, known_hosts=tmp_path / "known")
    hop, finding = list(SshProgram("app01.ssh", str(config)).check_login())[-1]
    assert (hop, finding.level) == ("clock", Level.FAIL), finding
    assert "clock is behind" in str(finding.fix)


def test_a_host_that_ssh_would_take_for_an_option_is_none(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    wish = PathOptions(
        f"-oProxyCommand=touch {planted}", "direct", {"--gateway": "127.0.0.1:1"}, {}
    )
    [(hop, finding)] = check_path(wish)
    assert hop == "ssh configuration"
    assert "as an option" in finding.what
    assert not planted.exists()


def test_a_host_of_which_ssh_knows_nothing_needs_a_gateway(tmp_path: Path) -> None:
    empty = tmp_path / "config"
    empty.write_text("")

    def hops() -> Iterator[Result]:
        env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        return check_path(PathOptions("app01.ssh", None, {}, env, ssh_config=str(empty)))

    [(hop, finding)] = hops()
    assert hop == "ssh configuration"
    assert "no gateway is named" in finding.what
