"""`stagedoor attach`: what it says of itself before it reaches any gateway."""

import json
import re
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from stagedoor.cli import attach as attach_command
from stagedoor.cli.app import stagedoor
from stagedoor.cli.attach import attach
from stagedoor.client.administration import ApiAdministration
from stagedoor.client.contexts import Context
from stagedoor.laptop.login_files import find_login_options
from tests.net.peers import write_certificate


def run_attach(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(stagedoor, ["attach", *words])
    return done.exit_code, done.output


def test_an_address_that_is_not_of_the_web_is_named_as_it_was_given() -> None:
    code, text = run_attach("--url", "ftp://gw", "app01", "--", "true")
    assert code == 2
    assert "'ftp://gw' is not a web address: write https:// or http://" in text


def test_its_exit_codes_are_those_of_the_program_but_for_its_own() -> None:
    code, text = run_attach("--help")
    assert code == 0
    assert "255  this command itself failed" in text
    assert "there already" not in text


def test_watching_exits_as_attach_does() -> None:
    text = CliRunner().invoke(stagedoor, ["session", "watch", "--help"]).output
    assert "N    that of the watched program; 0 if you detach" in text
    assert "not found" not in text


def test_the_login_of_the_machine_says_who_it_is_unless_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("STAGEDOOR_USER", "STAGEDOOR_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "stagedoor" / "gw.example_8443"
    folder.mkdir(parents=True)
    reach = dict.fromkeys(("user", "token_file", "ca_file", "server_name", "via"))

    def reached(**named: str) -> tuple[str, str | None]:
        given = {**reach, "url": "https://GW.example:8443/path", **named}
        options, _ = attach_command.resolve_gateway("app01", given)
        return options.user, options.token_file

    alone = reached()
    assert alone[1] is None
    (folder / "state.json").write_text('{"gateway": "https://gw.example:8443", "user": "alice"}')
    assert reached() == alone, "logged out"
    (folder / "secret").touch(mode=0o600)
    (folder / "secret").write_text("sgl_x\n")
    assert reached() == ("alice", str(folder / "secret"))
    assert reached(url="http://gw.example:8443") == alone, "others could read the secret"
    assert reached(user="bob") == ("bob", None)
    assert reached(token_file="/t")[1] == "/t"
    monkeypatch.setenv("STAGEDOOR_USER", "carol")
    assert reached() == ("carol", None)


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("http://gw.example", "https://gw.example"),
        ("http://localhost:8443", "https://localhost:8443"),
        ("http://gw.example", "http://gw.example"),
        ("https://gw.example_8443", "https://gw.example:8443"),
    ],
)
def test_a_login_s_secret_is_for_its_own_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, login: str
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    write_login(tmp_path, login)
    assert find_login_options({"--gateway": url}, {}) == {}


@pytest.mark.parametrize("url", ["HTTPS://gw.example", "https://GW.example:443"])
def test_a_gateway_s_login_is_found_by_any_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    write_login(tmp_path, "https://gw.example/stagedoor")
    assert find_login_options({"--gateway": url}, {})["--user"] == "alice"


def test_a_context_finds_the_login_of_a_gateway_below_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("STAGEDOOR_USER", "STAGEDOOR_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    write_login(tmp_path, "https://gw.example/stagedoor")
    ApiAdministration(Context("work", "https://gw.example/stagedoor"))


def write_login(home: Path, url: str) -> None:
    """Write the files of a login at `url`."""
    folder = home / "stagedoor" / url.split("/")[2].replace(":", "_")
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"gateway": url, "user": "alice"}))
    (folder / "secret").touch(mode=0o600)
    (folder / "secret").write_text("sgl_x\n")


@pytest.mark.parametrize(
    "url", ["http://me:secret@127.0.0.1:1", "http://127.0.0.1:x", "https://TLS"]
)
def test_what_an_error_advises_is_an_option_that_attach_has(url: str, tmp_path: Path) -> None:
    """The errors of the tunnel's client are said here too, where other options lead to the gateway."""
    server = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*write_certificate(tmp_path))

    def greet() -> None:
        with suppress(OSError), server.accept()[0] as accepted:
            context.wrap_socket(accepted, server_side=True).close()

    thread = threading.Thread(target=greet)
    thread.start()
    at = f"127.0.0.1:{server.getsockname()[1]}"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "stagedoor", "attach", "app01", "--user", "me", "--via", "direct",
             "--url", url.replace("TLS", at)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    finally:
        server.shutdown(socket.SHUT_RDWR)
        thread.join(60)
        server.close()
    assert done.returncode == 255
    advised = set(re.findall(r"--[a-z-]+", done.stderr))
    assert advised, done.stderr
    assert advised <= {name for param in attach.params for name in param.opts}, done.stderr
