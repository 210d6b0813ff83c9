"""Stock OpenSSH with a key that no user has: it says where to sign in, waits, and goes on by itself."""

import asyncio
import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncssh
import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.certificates.revocation import FRESH_S
from stagedoor.listeners.ssh.pending_keys import PENDING_LIMITS, PendingKey, PendingLogins
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.fair_queue import PendingLimits
from stagedoor.model.source import Source
from tests.fixtures.gateway import SSH_TABLE, local, sso
from tests.fixtures.laptop import Laptop, Waiting, new_key, open_laptop, public
from tests.fixtures.people import log_in_at
from tests.login.machine import Person
from tests.net.test_ssh_agent import agent_with
from tests.ports import free_port
from tests.waiting import BOUND_S, wait_until

BANNER = re.compile(
    r"stagedoor: to sign in, open\s+http://127\.0\.0\.1:\d+(/login/\S+)\s+"
    r"and type the letters ([A-Z]{4}-[A-Z]{4}) there, within"
)

_REQUEST, _FAILURE = 50, 51
"""The numbers of two messages of authentication (RFC 4252 §6)."""


def settings(web: int, hold_s: float = 180.0) -> str:
    return (
        SSH_TABLE
        + f'hold_s = {hold_s}\nrevoked_keys_file = "REVOKED"\n'
        + local("app01")
        + f'[web]\naddresses = ["127.0.0.1:{web}"]\ntmux = false\n'
    )


@contextlib.contextmanager
def held_laptop(folder: Path, hold_s: float = 180.0) -> Iterator[Laptop]:
    folder.mkdir(exist_ok=True)
    (folder / "revoked").touch()
    made = settings(free_port(), hold_s).replace("REVOKED", str(folder / "revoked"))
    with open_laptop(folder, made + sso(folder)) as one:
        yield one


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    with held_laptop(tmp_path_factory.mktemp("hold")) as one:
        yield one


@pytest.fixture
def person(laptop: Laptop) -> Person:
    return Person(f"http://127.0.0.1:{laptop.gateway.port('web')}").sign_in()


def ssh(config: Path, *words: str) -> Waiting:
    return Waiting("ssh", "-F", config, *words, asks=BANNER)


def new_config(laptop: Laptop, key: Path) -> Path:
    """Return the configuration of a person who is there, though ssh has nothing to type on."""
    config = laptop.config(key=key)
    config.write_text(config.read_text().replace("  BatchMode yes\n", ""))
    return config


def approve(person: Person, path: str, letters: str) -> None:
    status, page = person.post(f"{path}/approve", letters=letters)
    assert status == 200, page


@pytest.mark.identity(16)
@pytest.mark.usefixtures("openssh")
@pytest.mark.parametrize("words", [("app01.ssh", "echo in"), ("app01@gw", "echo in")])
def test_it_waits_for_the_person_and_goes_on_and_the_next_shows_nothing(
    laptop: Laptop, person: Person, tmp_path: Path, words: tuple[str, str]
) -> None:
    config = new_config(laptop, new_key(tmp_path / "new"))
    waiting = ssh(config, *words)
    path, letters = waiting.asked()
    assert letters.replace("-", "") not in person.get(path)[1]
    approve(person, path, letters)
    assert waiting.end() == (0, b"in\n")
    second = laptop.ssh(*words, config=config)
    assert (second.returncode, second.stdout, second.stderr) == (0, b"in\n", b"")


@pytest.mark.identity(16)
@pytest.mark.parametrize("tool", ["scp", "rsync", "git"])
def test_tools_that_run_ssh_wait_as_well(
    laptop: Laptop, person: Person, tmp_path: Path, tool: str
) -> None:
    config = new_config(laptop, new_key(tmp_path / "new"))
    kept = tmp_path / "kept"
    kept.write_bytes(b"x" * 100)
    env = dict(os.environ)
    if tool == "git":
        repository = tmp_path / "repository"
        subprocess.run(["git", "init", "-q", "--bare", repository], check=True)
        env["GIT_SSH_COMMAND"] = f"ssh -F {config}"
        waiting = Waiting("git", "ls-remote", f"ssh://app01.ssh{repository}", env=env, asks=BANNER)
    elif tool == "rsync":
        waiting = Waiting(
            "rsync", "-e", f"ssh -F {config}", kept, f"app01.ssh:{kept}.there", asks=BANNER
        )
    else:
        waiting = Waiting("scp", "-F", config, kept, f"app01.ssh:{kept}.there", asks=BANNER)
    approve(person, *waiting.asked())
    status, _ = waiting.end()
    assert status == 0, waiting.said
    if tool != "git":  # which only lists
        assert Path(f"{kept}.there").read_bytes() == b"x" * 100


ANSIBLE = (
    "KbdInteractiveAuthentication=no",
    "PreferredAuthentications=gssapi-with-mic,gssapi-keyex,hostbased,publickey",
    "PasswordAuthentication=no",
)
"""As its connection plugin writes them."""


@pytest.mark.identity(16)
@pytest.mark.usefixtures("openssh")
@pytest.mark.parametrize("options", [("BatchMode=yes",), ANSIBLE], ids=["BatchMode", "Ansible"])
def test_programs_do_not_wait_and_say_what_to_do(
    laptop: Laptop, tmp_path: Path, options: tuple[str, ...]
) -> None:
    key, certificate = new_key(tmp_path / "new"), tmp_path / "new-cert.pub"
    words = [word for option in options for word in ("-o", option)]

    def refused() -> str:
        done = laptop.ssh(*words, "app01@gw", "true", config=new_config(laptop, key))
        assert done.returncode == 255
        lines = done.stderr.decode().splitlines()
        assert lines[1:] == ["app01@127.0.0.1: Permission denied (keyboard-interactive)."]
        return lines[0]

    todo = "Sign in first: run ssh once without BatchMode, or: stagedoor login"
    began = time.monotonic()
    assert refused() == f"stagedoor: this key is new here. {todo}"
    sign_in = log_in_at(laptop.gateway, "dev", key)
    certificate.write_bytes(
        laptop.ssh("gw", "cert", config=new_config(laptop, key), check=True).stdout
    )
    laptop.gateway.command("sign-in", "end", sign_in.id.hex(), "--yes")
    laptop.gateway.wait_for_policy()
    assert refused() == f"stagedoor: the sign-in of this key is over. {todo}"
    assert time.monotonic() - began < BOUND_S


@pytest.mark.identity(18)
def test_an_agent_with_ten_keys_of_which_the_third_is_bound_does_not_wait(
    laptop: Laptop, tmp_path: Path
) -> None:
    names = [f"key{number}" for number in range(10)]
    keys = [new_key(tmp_path / name) for name in names]
    log_in_at(laptop.gateway, "dev", keys[2])
    with agent_with(tmp_path, *names) as place:
        text = laptop.config().read_text()
        text = re.sub(r" +Identit(yFile|iesOnly|yAgent) .*\n", "", text)
        config = tmp_path / "config"
        text = text.replace("  BatchMode yes\n", "")
        config.write_text(f"{text}  IdentityAgent {place}\n  IdentityFile none\n")
        done = laptop.ssh("app01@gw", "echo in", config=config)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"in\n", b"")
        # Of those ten that no user has, the first waits.
        for key in keys[2:3]:
            subprocess.run(
                ["ssh-add", "-q", "-d", key],
                env={**os.environ, "SSH_AUTH_SOCK": str(place)}, check=True,
            )  # fmt: skip
        waiting = ssh(config, "app01@gw", "echo in")
        waiting.asked()
        waiting.kill()


@pytest.mark.identity(16)
def test_a_registered_key_behind_an_unknown_one_does_not_wait(
    laptop: Laptop, tmp_path: Path
) -> None:
    config = laptop.config(f"IdentityFile {new_key(tmp_path / 'new')}")
    text = config.read_text().replace(f"  IdentityFile {laptop.key}\n", "")
    config.write_text(f"{text}  IdentityFile {laptop.key}\n")
    done = laptop.ssh("app01@gw", "echo in", config=config)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"in\n", b"")


@pytest.mark.identity(4, 16)
def test_wrong_letters_and_a_no_end_the_wait(
    laptop: Laptop, person: Person, tmp_path: Path
) -> None:
    config = new_config(laptop, new_key(tmp_path / "new"))
    waiting = ssh(config, "app01@gw", "true")
    path, _ = waiting.asked()
    for _ in range(5):
        assert person.post(f"{path}/approve", letters="BBBB-BBBB")[0] == 403
    assert waiting.end()[0] == 255
    assert "refused in the browser, or its letters were wrong too often" in waiting.said
    waiting = ssh(config, "app01@gw", "true")
    path, letters = waiting.asked()
    # A click without the letters binds nothing: the link may have been sent by another person.
    assert person.post(f"{path}/approve")[0] != 200
    assert person.post(f"{path}/deny")[0] == 200
    assert waiting.end()[0] == 255
    assert person.post(f"{path}/approve", letters=letters)[0] != 200


@pytest.mark.identity(16)
def test_known_and_unknown_names_get_the_same_answer(
    laptop: Laptop, person: Person, tmp_path: Path
) -> None:
    key = new_key(tmp_path / "new")
    shapes = set()
    for name in ("dev", "nobody", "no_body", "app01", "app99"):
        waiting = ssh(new_config(laptop, key), f"{name}@gw", "true")
        path, letters = waiting.asked()
        said = waiting.said.replace(path, "PATH").replace(letters, "LETTERS")
        shapes.add(said)
        if name == "no_body":  # no app can have this name, so only that user may approve
            assert person.post(f"{path}/approve", letters=letters)[0] != 200
        waiting.kill()
    assert len(shapes) == 1


@pytest.mark.identity(16)
def test_a_user_with_the_name_of_an_app_keeps_no_key_out_of_it(
    laptop: Laptop, person: Person, tmp_path: Path
) -> None:
    with laptop.gateway.changed() as service:
        admin.add_user(service, "app01")
    try:
        waiting = ssh(new_config(laptop, new_key(tmp_path / "new")), "app01@gw", "echo in")
        path, letters = waiting.asked()
        assert person.get(path)[0] == 200
        approve(person, path, letters)
        assert waiting.end() == (0, b"in\n")
    finally:
        with laptop.gateway.changed() as service:
            admin.remove_user(service, "app01")


class Quiet(asyncssh.SSHClient):
    """Notes the banner."""

    def __init__(self) -> None:
        self.banner = ""
        self.connection: asyncssh.SSHClientConnection | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connection = conn

    def auth_banner_received(self, msg: str, lang: str) -> None:
        self.banner += msg

    def kbdint_auth_requested(self) -> str:
        return ""


class Renamed(Quiet):
    """Asks for another name once it has proved its key."""

    def kbdint_auth_requested(self) -> str:
        assert self.connection is not None
        self.connection._username = "app02"
        return ""


async def offered_twice(
    laptop: Laptop, pair: asyncssh.SSHKeyPair, client: Quiet | None = None
) -> Quiet:
    """As OpenSSH does after a partial success, but with whatever signs for `pair`; until the server says no,
    or something is shown."""
    client = client or Quiet()
    task = asyncio.ensure_future(
        asyncssh.connect(
            "127.0.0.1", laptop.port, username="app01", client_factory=lambda: client,
            client_keys=[pair, pair], known_hosts=None, config=None, agent_path=None,
            client_version="OpenSSH_9.9", preferred_auth="publickey,keyboard-interactive",
        )
    )  # fmt: skip
    async with asyncio.timeout(BOUND_S):
        while not task.done() and not BANNER.search(client.banner):
            await asyncio.sleep(0.02)
    if client.connection is not None:
        client.connection.abort()
    with contextlib.suppress(asyncssh.Error, ConnectionError):
        await task
    return client


@pytest.mark.identity(16)
async def test_nothing_waits_for_a_key_that_the_client_does_not_hold(laptop: Laptop) -> None:
    """Else a stranger could have letters shown, and rows made, for the public keys of others."""
    [mine], [theirs] = (
        asyncssh.load_keypairs(asyncssh.generate_private_key("ssh-ed25519")) for _ in range(2)
    )
    assert BANNER.search((await offered_twice(laptop, mine)).banner)
    theirs.sign = mine.sign  # type: ignore[method-assign]  # the forgery
    assert (await offered_twice(laptop, theirs)).banner == ""
    assert not BANNER.search((await offered_twice(laptop, mine, Renamed())).banner)


@pytest.mark.identity(19)
async def test_who_asks_for_something_else_meanwhile_is_hung_up_on(laptop: Laptop) -> None:
    """Nothing bounds them any more: they would stay for ever, and count nowhere."""
    client = Quiet()
    key = asyncssh.generate_private_key("ssh-ed25519")
    [pair] = asyncssh.load_keypairs(key)
    task = asyncio.ensure_future(
        asyncssh.connect(
            "127.0.0.1", laptop.port, username="app01", client_factory=lambda: client,
            client_keys=[pair, pair], known_hosts=None, config=None, agent_path=None,
            client_version="OpenSSH_9.9", preferred_auth="publickey,keyboard-interactive",
        )
    )  # fmt: skip
    async with asyncio.timeout(BOUND_S):
        while not BANNER.search(client.banner):
            await asyncio.sleep(0.02)
        connection = client.connection
        assert connection is not None
        # A client of its own making: a refusal does not make it go.
        handlers = {**connection._packet_handlers, _FAILURE: lambda *_: True}
        connection._packet_handlers = handlers
        words = (b"app01", b"ssh-connection", b"none")
        connection.send_packet(_REQUEST, *map(asyncssh.packet.String, words))
        await connection.wait_closed()
    with contextlib.suppress(asyncssh.Error, ConnectionError):
        await task


@pytest.mark.identity(19)
def test_so_many_of_a_source_wait_and_others_log_in_meanwhile(
    laptop: Laptop, tmp_path: Path
) -> None:
    config = new_config(laptop, new_key(tmp_path / "new"))
    waiting = [ssh(config, "app01@gw", "true") for _ in range(PENDING_LIMITS.of_source)]
    try:
        for client in waiting:
            client.asked()
        one_more = laptop.ssh("app01@gw", "true", config=config)
        assert one_more.returncode == 255
        assert b"Permission denied (publickey)" in one_more.stderr
        assert laptop.ssh("app01@gw", "echo in").stdout == b"in\n"
    finally:
        for client in waiting:
            client.kill()
    # Their places are free once they are gone.
    last = ssh(config, "app01@gw", "true")
    last.asked()
    last.kill()


@pytest.mark.identity(23)
@pytest.mark.usefixtures("openssh")
def test_servers_that_trust_the_ca_hear_of_the_end_by_a_list(
    laptop: Laptop, tmp_path: Path
) -> None:
    """As their timer fetches it, and as their sshd reads it (RevokedKeys)."""
    key, certificate, krl = (tmp_path / name for name in ("key", "key-cert.pub", "revoked.krl"))
    new_key(key)
    sign_in = log_in_at(laptop.gateway, "dev", key)
    certificate.write_bytes(
        laptop.ssh("gw", "cert", config=new_config(laptop, key), check=True).stdout
    )
    url = f"http://127.0.0.1:{laptop.gateway.port('web')}/revoked.krl"

    def revoked() -> bool:
        subprocess.run(["curl", "-fsS", "-o", krl, url], check=True)
        checked = subprocess.run(
            ["ssh-keygen", "-Q", "-f", krl, certificate], capture_output=True, text=True
        )
        assert ("REVOKED" in checked.stdout) == (checked.returncode == 1), checked
        return "REVOKED" in checked.stdout

    assert not revoked()
    laptop.gateway.command("sign-in", "end", sign_in.id.hex(), "--yes")
    wait_until(revoked, 2 * FRESH_S)


@pytest.mark.identity(17)
def test_a_wait_that_is_not_seen_ends_with_its_reason(tmp_path: Path) -> None:
    with held_laptop(tmp_path / "hold", hold_s=1.0) as laptop:
        config = new_config(laptop, new_key(tmp_path / "new"))
        began = time.monotonic()
        quiet = laptop.ssh("-q", "app01@gw", "true", config=config)
        assert (quiet.returncode, quiet.stderr) == (255, b"")
        assert time.monotonic() - began < BOUND_S
        loud = laptop.ssh("-o", "LogLevel=ERROR", "app01@gw", "true", config=config)
        assert loud.returncode == 255
        assert b"no user signed in for this key within 1 s" in loud.stderr
        assert b"LogLevel ERROR hid it" in loud.stderr

        def written() -> list[object]:
            return [
                event for event in laptop.gateway.audit()
                if event["kind"] == "session.denied" and "no user signed in" in str(event["fields"])
            ]  # fmt: skip

        wait_until(lambda: len(written()) == 2)


def test_a_revoked_key_does_not_wait(laptop: Laptop, tmp_path: Path) -> None:
    """A developer who signed in for it would have done so for nothing."""
    key = new_key(tmp_path / "new")
    (laptop.folder / "revoked").write_text(public(key))
    refused = laptop.ssh("app01@gw", "true", config=new_config(laptop, key))
    assert refused.returncode == 255
    assert b"Permission denied (publickey)" in refused.stderr
    assert not BANNER.search(refused.stderr.decode())


def test_the_first_unknown_key_waits_once_all_others_were_refused() -> None:
    sign_ins: Any = SimpleNamespace(may_wait=lambda line: True)
    client: Any = SimpleNamespace(is_openssh=True)
    pending = PendingKey(sign_ins, PendingLogins(), Source.of("192.0.2.1", 1))
    unknown = Denial(Reason.CREDENTIAL_WRONG, "no user has this key")

    def offer(key: bytes) -> tuple[Denial | None, bool]:
        shown: Any = SimpleNamespace(
            credential=SimpleNamespace(certificate=None, key=key), line="ssh-ed25519 AAAA"
        )
        return pending.judge_wait(shown, unknown, client), pending.take_partial_success()

    assert offer(b"one") == (unknown, True), "so that the client offers all its keys again"
    assert [offer(b"two"), offer(b"three")] == [(unknown, False)] * 2
    assert offer(b"one") == (None, False)
    assert offer(b"one") == (None, False), "asked first, and then signed"


@pytest.mark.identity(19)
def test_a_thousand_of_many_sources_are_bounded_and_leave_nothing_behind() -> None:
    holds = PendingLogins(replace(PENDING_LIMITS, of_source=2))
    with contextlib.ExitStack() as stack:
        crowded_out: list[int] = []
        taken = 0
        for number in range(1000):
            source = str(number // 3)
            if holds.explain_full(source) is None:
                stack.enter_context(holds.take_place(source, partial(crowded_out.append, number)))
                taken += 1
        assert (taken, len(holds)) == (300, 200)
        # The second of each of the first hundred, for one of each of the next hundred.
        assert crowded_out == [3 * source + 1 for source in range(100)]
        assert "200 connections wait" in str(holds.explain_full("new"))
    assert len(holds) == 0
    assert holds._waiting.count_keys() == {}


def test_a_source_has_so_many_places_and_one_that_gives_way_has_none() -> None:
    holds = PendingLogins(PendingLimits(2, 2, 2))
    with holds.take_place("one", pytest.fail):
        gone: list[str] = []
        with holds.take_place("one", partial(gone.append, "second")):
            assert "2 connections from your address" in str(holds.explain_full("one"))
            with holds.take_place("two", pytest.fail):
                assert gone == ["second"]
                assert len(holds) == 2
        assert len(holds) == 1
    assert holds._waiting.count_keys() == {}
