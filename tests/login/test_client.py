"""The client that a gateway serves, as one file on a bare machine: a login in a browser, then ssh alone."""

import argparse
import html
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import click
import pytest
from sqlalchemy import update

from stagedoor.admin import service as admin
from stagedoor.cli.doctor import doctor
from stagedoor.laptop.login_result import DENIED, EXPIRED, NOT_LOGGED_IN
from stagedoor.laptop.main import build_parser
from stagedoor.store.sign_in.tables import pending_logins
from tests.fixtures.gateway import PASSWORD, Gateway
from tests.login.laptop import ENOUGH_S, BareLaptop, Desktop, Running, come_back
from tests.login.machine import Key, Person
from tests.login.test_hostile_gateway import hostile
from tests.stopped import killed
from tests.waiting import BOUND_S, wait_until
from tests.web.proxies import Corporate

pytestmark = pytest.mark.usefixtures("ended")


@pytest.mark.identity(1, 2)
def test_one_login_on_a_bare_machine_then_ssh_alone(
    laptop: BareLaptop, person: Person, gateway: Gateway
) -> None:
    """No letters on one machine, no question by ssh, host key included; the terminal names the account."""
    running = laptop.log_in(person)
    assert "logged in as dev" in running.stderr
    done = laptop.ssh("app01.ssh", "printf %s $APP_NAME")
    assert (done.returncode, done.stdout) == (0, "app01"), done.stderr
    for name, mode in (("id", 0o600), ("secret", 0o600), ("state.json", 0o600), (".", 0o700)):
        assert (laptop.folder / name).stat().st_mode & 0o777 == mode
    said = laptop.run("whoami", "--json")
    [who] = json.loads(said.stdout)
    assert (who["user"], who["logged_in"], who["gateway"]) == ("dev", True, laptop.base)
    assert "dev at" in laptop.run("whoami").stdout
    only_one = laptop.run("login", "--print").stdout
    assert only_one == laptop.run("login", "--print", laptop.base).stdout
    # Once more: the same key, and the line in ssh's configuration stands once.
    before = (laptop.folder / "id").read_bytes()
    laptop.log_in(person)
    assert (laptop.folder / "id").read_bytes() == before
    assert (laptop.home / ".ssh/config").read_text().count("Include") == 1

    assert laptop.run("logout").returncode == 0
    assert laptop.run("whoami").returncode == NOT_LOGGED_IN
    assert "no new login was started" in laptop.ssh("app01.ssh", "true").stderr
    # The gateway's worker looks at the store twice a second.
    wait_until(lambda: laptop.ssh("app01.ssh", "true").returncode == 255, costly=True)
    assert laptop.run("logout", "--forget").returncode == 0
    assert "name the gateway" in laptop.run("login").stderr
    assert laptop.files() == {
        Path(p) for p in ("stagedoor", ".ssh", ".ssh/config", ".config", ".config/stagedoor")
    }
    assert (laptop.home / ".ssh/config").read_text() == ""


def test_a_shell_knows_the_new_key_before_its_machine_does(
    laptop: BareLaptop, person: Person, gateway: Gateway
) -> None:
    """Not with the next look at the store, half a second later: ssh may come at once."""
    laptop.log_in(person)
    assert laptop.ssh("app01.ssh", "true").returncode == 0
    assert laptop.run("logout", "--forget").returncode == 0
    laptop.log_in(person)
    kind, key, *_ = (laptop.folder / "id.pub").read_text().split()
    assert f"{kind} {key}" in (gateway.data_dir / "shells/app01/authorized_keys").read_text()


@dataclass
class Listening(Corporate):
    """Keeps what goes by: of the client, and of the gateway's answers their heads."""

    sent: list[bytes] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:  # type: ignore[override]
        from_client, said = source.getsockname()[1] == self.port, b""
        with suppress(OSError):
            while data := source.recv(65536):
                said += data
                sink.sendall(data)
        # Of each connection, which has one request and one answer.
        self.sent.append(said) if from_client else self.heads.append(said.partition(b"\r\n\r\n")[0])
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.mark.identity(3)
def test_letters_are_typed_where_the_browser_is_elsewhere(
    laptop: BareLaptop, person: Person, gateway: Gateway
) -> None:
    """They are in no address, header, log, audit or list of processes, and the client sends them nowhere."""
    place = laptop.base.partition("://")[2]
    with Listening({place: gateway.port("web")}) as corporate:
        via = f"http://127.0.0.1:{corporate.port}"
        running = laptop.start("login", laptop.base, STAGEDOOR_VIA=via)
        id_ = running.login_id(laptop.base)
        letters = running.letters
        assert len(letters.replace("-", "")) == 8
        listed = subprocess.run(["ps", "-eww", "-o", "args="], capture_output=True, text=True)
        environ = Path(f"/proc/{running.process.pid}/environ").read_bytes().decode()
        assert person.post(f"/login/{id_}/approve", letters=letters)[0] == 200
        assert running.end().returncode == 0, running.stderr
    assert b"POST /login/poll " in b"".join(corporate.sent)
    texts = [
        listed.stdout,
        environ,
        b"".join([*corporate.sent, *corporate.heads]).decode("latin-1"),
        json.dumps(gateway.lines),
        json.dumps(gateway.audit()),
    ]
    for text in texts:
        assert letters not in text
        assert letters.replace("-", "") not in text


@pytest.mark.identity(6)
def test_denied_interrupted_and_expired_change_no_file_and_say_one_line(
    laptop: BareLaptop, person: Person, gateway: Gateway
) -> None:
    def deny(running: Running, id_: str) -> None:
        person.post(f"/login/{id_}/deny")

    def interrupt(running: Running, id_: str) -> None:
        running.process.send_signal(signal.SIGINT)

    def leave(running: Running, id_: str) -> None:
        """Open its page, close the tab, and let its three minutes pass."""
        assert person.get(f"/login/{id_}")[0] == 200
        with gateway.service() as service, service.database.write() as transaction:
            transaction.execute(update(pending_logins).values(ends_at=1.0))

    before = laptop.files()
    for does, code, said in (
        (deny, DENIED, "stagedoor: the login was denied in the browser; nothing was changed"),
        (interrupt, 130, "stagedoor: interrupted"),
        (
            leave,
            EXPIRED,
            "stagedoor: this login is over or was never begun here; run stagedoor login",
        ),
    ):
        running = laptop.start("login", laptop.base)
        does(running, running.login_id(laptop.base))
        assert running.end().returncode == code
        [*_, line] = running.stderr.splitlines()
        assert len(running.stderr.splitlines()) == 4  # behind the address, the key and the letters
        assert line.startswith(said)
        assert laptop.files() == before
    assert laptop.run("login", "http://gw.example").returncode == 2
    assert laptop.run("login", "https://127.0.0.1:1").returncode == 10
    assert laptop.files() == before


def test_print_writes_nothing(laptop: BareLaptop) -> None:
    before = laptop.files()
    done = laptop.run("login", "--print", laptop.base)
    assert "@cert-authority *.ssh,*-ssh" in done.stdout
    assert "login --if-needed" in done.stdout
    assert laptop.files() == before


@pytest.mark.identity(5)
def test_others_at_the_port_get_nothing_and_stop_nothing(
    laptop: BareLaptop, person: Person
) -> None:
    running = laptop.start("login", laptop.base)
    id_ = running.login_id(laptop.base)
    port, _ = person.code_for(id_)
    own = quote(laptop.base, safe="").encode()
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    for asked in (
        b"GET /?code=" + b"A" * 43 + b" HTTP/1.1\r\n\r\n",
        b"GET /?code=" + b"A" * 43 + b"&iss=x HTTP/1.1\r\nSec-Fetch-Dest: iframe\r\n\r\n",
        b"GET /?code="
        + b"A" * 43
        + b"&iss="
        + own
        + b" HTTP/1.1\r\nSec-Fetch-Dest: document\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 9000,
    ):
        with socket.create_connection(("127.0.0.1", port), BOUND_S) as line:
            line.sendall(asked)
            try:
                answer = line.recv(4096)
            except ConnectionResetError:
                answer = b""
            assert b"secret" not in answer
    come_back(person, id_)
    assert running.end().returncode == 0, running.stderr
    for line in silent:
        line.close()


@pytest.mark.identity(22)
def test_a_certificate_is_renewed_without_a_word(laptop: BareLaptop, person: Person) -> None:
    laptop.log_in(person)
    fresh, certificate = laptop.folder / "fresh_until", laptop.folder / "id-cert.pub"
    before = certificate.read_text()
    fresh.write_text("0")
    done = laptop.ssh("app01.ssh", "echo in")
    assert (done.stdout, done.stderr) == ("in\n", "")
    assert certificate.read_text() != before
    assert int(fresh.read_text()) > 0


def test_without_a_grant_the_login_lasts_and_the_certificate_comes_with_the_grant(
    laptop: BareLaptop, base: str, gateway: Gateway
) -> None:
    gateway.add_user("newcomer")
    running = laptop.log_in(Person(base).sign_in("newcomer"))
    assert "You are logged in as newcomer" in running.stderr
    assert "you may not enter any app, so your key gets no certificate" in running.stderr
    assert "stagedoor grant" not in running.stderr
    certificate = laptop.folder / "id-cert.pub"
    assert not certificate.exists()
    refused = laptop.start_as_ssh().end()
    assert refused.returncode != 0
    assert "ask your administrator for a grant" in refused.stderr
    with gateway.changed() as service:
        grant = admin.add_grant(service, "user:newcomer", "app01")
    assert laptop.ssh("app01.ssh", "echo in").stdout == "in\n"
    assert certificate.exists()
    # The last grant goes: what is there is not renewed.
    with gateway.changed() as service:
        admin.remove_grant(service, grant.id)
    (laptop.folder / "fresh_until").write_text("0\n")
    refused = laptop.start_as_ssh().end()
    assert "you may not enter any app" in refused.stderr


@pytest.mark.identity(25)
def test_it_needs_no_agent_and_changes_none(
    laptop: BareLaptop, person: Person, tmp_path: Path
) -> None:
    """An agent with a key of the person's; one that takes no certificate and refuses whatever it is asked,
    as keyrings do; and a socket at which no agent listens."""
    other = Key(tmp_path, "other")
    with agent(tmp_path) as full, refusing(tmp_path) as keyring:
        subprocess.run(["ssh-add", "-q", other.file], env={"SSH_AUTH_SOCK": full}, check=True)

        def listed() -> bytes:
            return subprocess.check_output(["ssh-add", "-l"], env={"SSH_AUTH_SOCK": full})

        before = listed()
        laptop.log_in(person)
        config = laptop.home / ".ssh/config"
        for place in (full, keyring, str(tmp_path / "nobody")):
            done = subprocess.run(
                ["ssh", "-F", config, "app01.ssh", "echo in"],
                env=laptop.env | {"SSH_AUTH_SOCK": place},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=ENOUGH_S,
            )
            assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
            (laptop.folder / "fresh_until").write_text("0\n")  # the next renews, beside that agent
        assert listed() == before


@contextmanager
def agent(folder: Path) -> Iterator[str]:
    """Run a real ssh-agent, and yield its socket."""
    place = str(folder / "agent")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", place], stdout=subprocess.DEVNULL)
    with killed(process):
        wait_until(Path(place).exists)
        yield place


@contextmanager
def refusing(folder: Path) -> Iterator[str]:
    """Run an agent that answers SSH_AGENT_FAILURE to everything (draft-ietf-sshm-ssh-agent)."""
    place = str(folder / "keyring")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    line, _ = listener.accept()
                    with line, line.makefile("rb") as asked:
                        while size := int.from_bytes(asked.read(4)):
                            asked.read(size)
                            line.sendall(b"\0\0\0\x01\x05")

        threading.Thread(target=serve, daemon=True).start()
        yield place
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.identity(8)
def test_programs_are_never_asked(laptop: BareLaptop, person: Person, gateway: Gateway) -> None:
    """`ssh -G`, BatchMode, cron: one line, at once, and no login begins."""
    laptop.log_in(person)
    gateway.command("sign-in", "end", "--user", "dev", "--yes")
    (laptop.folder / "fresh_until").write_text("0")
    desktop = Desktop(laptop.home)
    # The last is cron's: no desktop, and no terminal.
    for arguments, env in (
        (["-G", "app01.ssh"], desktop.env),
        (["-oBatchMode=yes", "app01.ssh"], desktop.env),
        (["app01.ssh"], desktop.env | {"CI": "true"}),
        (["app01.ssh"], {}),
    ):
        done = laptop.ssh(*arguments, **env)
        lines = [line for line in done.stderr.splitlines() if line.startswith("stagedoor:")]
        assert len(lines) == 1
        assert "no new login was started" in lines[0]
    assert desktop.tabs == []


def test_the_gateway_serves_it_with_the_lines_that_install_it(
    tmp_path: Path, base: str, person: Person
) -> None:
    """As the page has them, run by a shell in a bare home; the second waits for its person."""
    _, page = Person(base).get("/client")
    get, run = (html.unescape(line) for line in re.findall(r"<code>([^<]+)</code> <button", page))
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LOGNAME": "somebody"}
    done = subprocess.run(["sh", "-c", get], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "stagedoor.new: OK\n"
    process = subprocess.Popen(
        ["sh", "-c", run],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    running = Running(process)
    come_back(person, running.login_id(base))
    assert running.end().returncode == 0, running.stderr
    assert "-I -S" in next(tmp_path.glob(".config/stagedoor/*/ssh_config")).read_text()


def test_a_download_that_was_tampered_with_replaces_no_client(tmp_path: Path, base: str) -> None:
    """The page's line, where an attacker on the way sends another file than the one whose SHA-256 it has."""
    _, page = Person(base).get("/client")
    get, _ = (html.unescape(line) for line in re.findall(r"<code>([^<]+)</code> <button", page))
    installed = tmp_path / ".local/bin/stagedoor"
    installed.parent.mkdir(parents=True)
    installed.write_text("the one before")
    installed.chmod(0o755)

    def install(line: str) -> int:
        env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        return subprocess.run(["sh", "-c", line], env=env, capture_output=True).returncode

    with hostile(lambda *_: {"tampered": "with"}) as url:
        assert install(get.replace(base, url)) != 0
    assert install(get.replace(base, "http://127.0.0.1:1")) != 0
    assert installed.read_text() == "the one before"
    others = [file for file in installed.parent.iterdir() if file != installed]
    assert not any(os.access(file, os.X_OK) for file in others), "nothing else can be run"
    assert install(get) == 0
    assert b"PK" in installed.read_bytes()
    assert os.access(installed, os.X_OK)
    assert list(installed.parent.iterdir()) == [installed]


def test_its_doctor_takes_the_options_of_the_installed_one() -> None:
    """But for the bundle, which the gateway's side of the program writes."""
    installed = {
        word for option in doctor.params for word in option.opts if isinstance(option, click.Option)
    }
    [choices] = [
        action.choices
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    alone = {word for action in choices["doctor"]._actions for word in action.option_strings}
    assert alone - {"-h", "--help"} == installed - {"--bundle"}


@pytest.mark.timeout(300)
def test_its_doctor_says_what_the_installed_one_says(
    laptop: BareLaptop, person: Person, gateway: Gateway, tmp_path: Path
) -> None:
    """Each logs in a few times by stock ssh: ten seconds."""
    laptop.log_in(person)
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text(PASSWORD)
    given = ["--user", "dev", "--token-file", str(secret)]
    config = ["--ssh-config", str(laptop.home / ".ssh/config")]
    connect = ["--how", "connect", "--gateway", f"127.0.0.1:{gateway.port()}"]
    walks = {
        ("app01.ssh", *config): (0, "large packets"),
        ("app01", "--how", "web", "--gateway", laptop.base, *given): (0, "shell"),
        ("other.ssh", *connect, *given): (2, "grant"),
    }
    for words, (code, last) in walks.items():
        alone = laptop.run("doctor", *words, "--json")
        installed = subprocess.run(
            [sys.executable, "-m", "stagedoor", "doctor", *words, "--json"],
            env=laptop.env, capture_output=True, text=True,
        )  # fmt: skip
        ours, theirs = (
            [
                [re.sub(r"[0-9.]+|ahead of|behind", "0", value) for value in row.values()]
                for row in json.loads(out)
            ]
            for out in (alone.stdout, installed.stdout)
        )
        assert (alone.returncode, ours[-1][0]) == (code, last), (alone.stdout, alone.stderr)
        assert (ours, alone.returncode) == (theirs, installed.returncode)
    shown = laptop.run("doctor", "other.ssh", *connect, *given).stdout
    assert re.search(r"(?m)^OK    gateway: .*\nFAIL  grant: .*\n      ask an administrator", shown)


@pytest.mark.identity(9)
@pytest.mark.skipif(os.geteuid() != 0, reason="a namespace without routes needs root")
def test_a_good_certificate_costs_no_packet_and_loads_hardly_anything(
    laptop: BareLaptop, tmp_path: Path
) -> None:
    """Its cost is measured by `bench/sign_in.py`: the interpreter's start, and nothing of ours."""
    laptop.folder.mkdir(parents=True)
    (laptop.folder / "fresh_until").write_text("99999999999")
    (laptop.folder / "id-cert.pub").write_text("any")
    asked = ["login", "--if-needed", "--folder", str(laptop.folder), "--", "app01.ssh"]
    client = [
        sys.executable,
        "-I",
        "-S",
        "-X",
        "importtime",
        str(laptop.home / "stagedoor"),
        *asked,
    ]
    done = subprocess.run(
        ["unshare", "-n", *client], check=True, env=laptop.env, capture_output=True, text=True
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "stagedoor.laptop.if_needed" in loaded
    assert not {"json", "socket", "ssl", "subprocess", "urllib", "stagedoor.laptop.main"} & loaded


@pytest.mark.identity(22)
def test_a_renewal_runs_what_is_compiled_of_this_client_alone(
    laptop: BareLaptop, person: Person
) -> None:
    laptop.log_in(person)
    code, client = laptop.folder / "code", laptop.home / "stagedoor"
    assert code.stat().st_mode & 0o777 == 0o700
    assert list((code / "__pycache__").glob("login.*.pyc"))

    def renewed() -> str:
        (laptop.folder / "fresh_until").write_text("0\n")
        done = laptop.ssh("app01.ssh", "echo in")
        assert done.stdout == "in\n", done.stderr
        return done.stderr

    (code / "main.py").write_text('raise SystemExit("it runs from here")\n')
    (laptop.folder / "fresh_until").write_text("0\n")
    assert "it runs from here" in laptop.ssh("app01.ssh", "true").stderr
    # Another client takes its own code, and then leaves it here.
    os.utime(client, (1, 1))
    assert renewed() == ""
    assert "it runs from here" not in (code / "main.py").read_text()
    assert renewed() == ""
