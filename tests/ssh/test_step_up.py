"""Step-up by ssh: an app that wants a fresh proof of identity."""

import re
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from stagedoor.admin import service as admin
from stagedoor.model.permission import Permission
from stagedoor.model.run import Run, RunOrder
from stagedoor.model.target import Target
from stagedoor.signin.passkeys import remove_passkey
from stagedoor.store import runs
from stagedoor.store.sign_in.passkeys import list_passkeys
from tests.fixtures.gateway import PASSWORD, SSH_TABLE, EchoServer, local, static
from tests.fixtures.laptop import Laptop, Waiting, new_key, open_laptop, public
from tests.fixtures.people import log_in, log_in_at
from tests.ports import free_port
from tests.ssh.test_credentials import SK, TOUCHED, VERIFIED, SecurityKey
from tests.waiting import BOUND_S
from tests.web import passkeys

STEP_UP = '[step_up]\ntargets = ["*.production", "secret", "own"]\n'


@pytest.fixture(scope="module")
def web_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory, web_port: int) -> Iterator[Laptop]:
    echo = EchoServer()
    web = (
        f'[web]\naddresses = ["127.0.0.1:{web_port}"]\npublic_url = "http://localhost:{web_port}"\n'
    )
    shells = static("app01", echo.port) + static("secret", echo.port) + local("own")
    settings = SSH_TABLE + web + STEP_UP + shells
    apps = ("app01", "secret", "own")
    with open_laptop(tmp_path_factory.mktemp("step-up"), settings, apps) as laptop:
        with laptop.gateway.changed() as service:
            admin.add_user(service, "other", password=PASSWORD)
        yield laptop
    echo.close()


@pytest.fixture(autouse=True)
def without_passkeys(laptop: Laptop) -> Iterator[None]:
    """Remove the passkeys of a test: beside one, a password alone adds no other."""
    yield
    with laptop.gateway.changed() as service:
        with service.database.read() as transaction:
            passkeys = list_passkeys(transaction)
        for passkey in passkeys:
            remove_passkey(service, passkey.id)


class SecurityKeyPair(asyncssh.SSHKeyPair):
    """A security key as asyncssh's client takes one; `flags` are what it signs."""

    def __init__(self, key: SecurityKey, flags: int) -> None:
        super().__init__(SK, SK, (SK,), (SK,), key.blob, None)
        self._key = key
        self._flags = flags

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data, self._flags)


async def jumps(laptop: Laptop, pair: SecurityKeyPair, app: str) -> bytes | str:
    """Return what an echo behind `app` says back, or why there is none."""
    async with asyncssh.connect(
        "127.0.0.1", laptop.port, username="dev", client_keys=[pair], known_hosts=None, config=None
    ) as connection:
        try:
            reader, writer = await connection.open_connection(f"{app}.ssh", 22, encoding=None)
        except asyncssh.ChannelOpenError as error:
            return error.reason
        writer.write(b"SSH-2.0-x\r\n")
        said = await reader.readexactly(11)
        writer.close()
        return bytes(said)


@pytest.mark.identity(35)
async def test_a_security_key_that_asked_for_a_pin_needs_no_other_proof(laptop: Laptop) -> None:
    key = SecurityKey()
    with laptop.gateway.changed() as service:
        admin.add_keys(service, "dev", [f"{SK.decode()} {b64encode(key.blob).decode()}"])
    assert (
        await jumps(laptop, SecurityKeyPair(key, TOUCHED | VERIFIED), "secret") == b"SSH-2.0-x\r\n"
    )
    touched = await jumps(laptop, SecurityKeyPair(key, TOUCHED), "secret")
    assert "secret requires that you confirm your identity first, which" in str(touched)
    assert await jumps(laptop, SecurityKeyPair(key, TOUCHED), "app01") == b"SSH-2.0-x\r\n"


@pytest.mark.identity(35)
async def test_a_security_key_that_a_browser_bound_proves_nothing(laptop: Laptop) -> None:
    """With a stolen cookie, its thief lets a key of their own wait and approves it."""
    key = SecurityKey()
    with laptop.gateway.changed() as service:
        log_in(service, "dev", f"{SK.decode()} {b64encode(key.blob).decode()}", 3600.0)
    verified = SecurityKeyPair(key, TOUCHED | VERIFIED)
    assert await jumps(laptop, verified, "app01") == b"SSH-2.0-x\r\n"
    assert "secret requires that you confirm your identity first" in str(
        await jumps(laptop, verified, "secret")
    )


def test_a_registered_key_alone_is_refused_with_what_would_help(laptop: Laptop) -> None:
    refused = laptop.ssh("secret.ssh")
    assert refused.returncode != 0
    assert b"which this key cannot do; sign in on the WebShell's page" in refused.stderr
    denied = [
        (session["identity"], session["target"])
        for session in laptop.gateway.sessions("denied")
        if session["reason"] == "step_up_needed"
    ]
    assert set(denied) == {("dev", "secret.ssh")}


# A terminal that waits for its person.

ASKED = re.compile(
    r"step-up: open (http://localhost:[0-9]+/step-up/(\S+)) and type ([A-Z]{4}-[A-Z]{4}) there"
)


def ssh(config: Path, *words: str) -> Waiting:
    return Waiting("ssh", "-F", config, *words, asks=ASKED)


@pytest.fixture
def config(laptop: Laptop, tmp_path: Path) -> Path:
    """Return the ssh_config of a machine on which dev has logged in and not yet stepped up."""
    key = new_key(tmp_path / "laptop")
    log_in_at(laptop.gateway, "dev", key)
    return laptop.config("BatchMode yes", key=key)


@pytest.mark.identity(35)
def test_direct_login_waits_for_one_touch_whatever_runs_in_it(config: Path, web_port: int) -> None:
    """Some seconds: eleven times ssh. The others wait for the touch of the first."""
    person = passkeys.signed_in(web_port)
    authenticator = passkeys.add_passkey(person)
    others = [ssh(config, "own@gw", f"echo {n}") for n in range(9)]
    first = ssh(config, "own@gw", "echo $((6*7))")
    id_, letters = first.asked()
    page = person.get(f"/step-up/{id_}").text
    for shown in ("own", "laptop", "127.0.0.1"):
        assert f">{shown}<" in page
    passkeys.prove(person, authenticator, id=id_, letters=letters.lower())
    assert first.end() == (0, b"42\n")
    assert [terminal.end() for terminal in others] == [(0, f"{n}\n".encode()) for n in range(9)]
    assert {asked for terminal in others for asked in ASKED.findall(terminal.said)} == {
        (f"http://localhost:{web_port}/step-up/{id_}", id_, letters)
    }, "one address and one set of letters"
    assert "Identity confirmed" in person.get(f"/step-up/{id_}").text
    again = ssh(config, "own@gw", "true")
    assert (again.end()[0], again.said) == (0, "")
    # The browser's own sign-in was not proved.
    assert "Confirm your identity" in person.get("/step-up").text
    assert passkeys.ask(person, "ticket", target="own").status == 403


@pytest.mark.identity(35)
def test_a_link_without_the_letters_is_worth_nothing(
    laptop: Laptop, config: Path, web_port: int
) -> None:
    person = passkeys.signed_in(web_port)
    authenticator = passkeys.add_passkey(person)
    terminal = ssh(config, "own@gw", "true")
    try:
        id_, letters = terminal.asked()
        # Another user, who has a passkey and the letters as well.
        other = passkeys.signed_in(web_port, "other")
        passkeys.add_passkey(other)
        assert other.get(f"/step-up/{id_}").status == 404
        assert passkeys.ask(other, "step-up", id=id_, letters=letters).status == 400
        # The victim of a link, whose passkey proves their own browser at most.
        passkeys.prove(person, authenticator)
        assert terminal.process.poll() is None
        wrong = [passkeys.ask(person, "step-up", id=id_, letters="BBBB-BBBB") for _ in range(5)]
        assert [answer.status for answer in wrong] == [401] * 5
        assert "4 tries are left" in wrong[0].text
        assert passkeys.ask(person, "step-up", id=id_, letters=letters).status == 400
        assert person.get(f"/step-up/{id_}").status == 404
        # Other letters are made for the next terminal.
        another = ssh(config, "own@gw", "true")
        assert another.asked()[0] != id_
        another.kill()
        details = [str(event["fields"]) for event in laptop.gateway.audit()]
        assert not any(letters in detail for detail in details)
        assert letters not in str(laptop.gateway.lines)
    finally:
        terminal.kill()


@pytest.mark.identity(35)
def test_a_jump_is_refused_with_the_address_and_goes_after_the_touch(
    config: Path, web_port: int
) -> None:
    person = passkeys.signed_in(web_port)
    authenticator = passkeys.add_passkey(person)
    jump = ["-W", "secret.ssh:22", "gw"]
    refused = ssh(config, *jump)
    id_, letters = refused.asked()
    assert refused.end()[0] != 0
    passkeys.prove(person, authenticator, id=id_, letters=letters)
    with subprocess.Popen(
        ["ssh", "-F", config, *jump], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as jumped:
        assert jumped.stdin is not None
        assert jumped.stdout is not None
        jumped.stdin.write(b"SSH-2.0-x\r\n")
        jumped.stdin.close()
        assert jumped.stdout.readline() == b"SSH-2.0-x\r\n"


def test_it_was_not_me_ends_the_sign_in_that_waits(config: Path, web_port: int) -> None:
    person = passkeys.signed_in(web_port)
    terminal = ssh(config, "own@gw", "true")
    id_, _ = terminal.asked()
    page = person.get(f"/step-up/{id_}").text
    sign_in = re.findall(r'name="id" value="([0-9a-f]{64})"', page)
    assert len(sign_in) == 1
    assert person.post("/account/sign-ins/end", id=sign_in[0]).status == 303
    assert terminal.end()[0] != 0
    assert "you ended this sign-in" in terminal.said


# Attach.


@pytest.mark.identity(35)
def test_attach_waits_for_the_touch_and_goes_on(
    laptop: Laptop, web_port: int, tmp_path: Path
) -> None:
    with laptop.gateway.changed() as service:
        line = public(new_key(tmp_path / "laptop"))
        secret, _ = log_in(service, "dev", line, 3600.0)
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_text(secret)
    url = f"http://localhost:{web_port}"
    attach = (sys.executable, "-m", "stagedoor", "attach", "--url", url, "--user", "dev")
    command = [*attach, "--token-file", str(file), "own", "--", "echo", "in"]
    waiting = Waiting(*command, asks=ASKED)
    id_, letters = waiting.asked()
    person = passkeys.signed_in(web_port)
    passkeys.prove(person, passkeys.add_passkey(person), id=id_, letters=letters)
    code, said = waiting.end()
    assert (code, said) == (0, b"in\r\n"), waiting.said
    assert len(ASKED.findall(waiting.said)) == 1
    # Proved, it is not asked for again; a cookie is led to the page, and shown no letters.
    again = Waiting(*command, asks=ASKED)
    assert (again.end(), again.said) == ((0, b"in\r\n"), "")
    other = passkeys.signed_in(web_port)
    refused = passkeys.ask(other, "ticket", target="own", waits=True)
    assert refused.status == 403
    assert "letters" not in refused.text
    assert not ASKED.search(refused.text)


# CONNECT.


def connect(laptop: Laptop, secret: str, *fields: str) -> socket.socket:
    """Send a request for the shell of `secret`, and return the connection."""
    line = socket.create_connection(("127.0.0.1", laptop.gateway.port("tunnel")), BOUND_S)
    basic = b64encode(f"dev:{secret}".encode()).decode()
    head = ["CONNECT secret.ssh:22 HTTP/1.1", "Host: secret.ssh:22", *fields]
    line.sendall("\r\n".join([*head, f"Proxy-Authorization: Basic {basic}", "", ""]).encode())
    return line


def read_until(line: socket.socket, text: bytes) -> bytes:
    read = b""
    while text not in read and (more := line.recv(4096)):
        read += more
    return read


@pytest.mark.identity(35)
def test_connect_says_where_to_go_and_waits_for_a_client_that_shows_it(
    laptop: Laptop, web_port: int, tmp_path: Path
) -> None:
    with laptop.gateway.changed() as service:
        line = public(new_key(tmp_path / "laptop"))
        secret, _ = log_in(service, "dev", line, 3600.0)
    with connect(laptop, secret) as stock:
        refused = read_until(stock, b"\n\n").decode()
    status = refused.splitlines()[0]
    assert status.startswith("HTTP/1.1 403 Forbidden: step-up: open ")
    match = ASKED.search(status)
    assert match is not None, "nc and others show the status line alone"
    assert "secret requires that you confirm your identity first" in refused.splitlines()[-1]

    with connect(laptop, secret, "Stagedoor-Progress: 1") as ours:
        interim = read_until(ours, b"\r\n\r\n").decode()
        assert interim.startswith("HTTP/1.1 102 ")
        assert ASKED.findall(interim) == [match.groups()], "the same wait serves both"
        person = passkeys.signed_in(web_port)
        passkeys.prove(person, passkeys.add_passkey(person), id=match[2], letters=match[3])
        assert b"HTTP/1.1 200 " in read_until(ours, b"200 ")
    with connect(laptop, secret) as stock:
        assert read_until(stock, b"\r\n").startswith(b"HTTP/1.1 200 ")


def test_runs_of_such_an_app_are_shown_after_the_proof_only(laptop: Laptop) -> None:
    """With a stolen key, its thief would read in a list what others run there."""
    laptop.gateway.permit("user:dev", "own", Permission.RUN)
    refused = laptop.ssh("gw", "run", "own", "--", "true")
    assert refused.returncode == 255
    assert b"which this key cannot do" in refused.stderr
    with laptop.gateway.service() as service, service.database.write() as transaction:
        order = RunOrder(Target("own"), "a-command-of-theirs")
        run = runs.add_run(transaction, "0123456789ab", order, "dev", time.time())
    assert isinstance(run, Run)
    for words in (("list", "--json"), ("list", "own"), ("logs", run.id), ("wait", run.id)):
        done = laptop.ssh("gw", "run", *words)
        assert b"a-command-of-theirs" not in done.stdout + done.stderr, words
        assert words[0] == "list" or b"confirm your identity" in done.stderr, words
