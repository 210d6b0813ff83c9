"""Stock OpenSSH, scp, rsync and git without a grant: they wait for an approver, and go on by themselves."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.requests import access_requests as requests
from stagedoor.admin.service import AdminService
from stagedoor.model.access_request import (
    REQUEST_PENDING_S,
    AccessRequest,
    RequestRule,
    RequestState,
)
from stagedoor.model.permission import DEFAULT, Permission
from stagedoor.model.target import Target
from tests.fixtures.gateway import PASSWORD, SSH_TABLE, EchoServer, local, static
from tests.fixtures.laptop import (
    Laptop,
    Waiting,
    new_key,
    open_laptop,
    open_terminal,
    public,
    read_question,
)
from tests.fixtures.people import log_in
from tests.listeners.wire import basic, dialled, head, read_answer, said
from tests.pace import allow
from tests.waiting import BOUND_S, wait_until

WAITS = re.compile(r"access: request (\d+) waits (for) group:sre")
ASKS = re.compile(r"(own is open on request) \(2 h at most; (group:sre) decides\)")
MADE = re.compile(r"request (\d+) for (.+?) waits for group:sre")
RULE = RequestRule(0, "group:dev", "*", longest_s=7200, approvers=("group:sre",))


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    echo = EchoServer()
    shells = static("jumped", echo.port) + local("own") + local("other")
    with open_laptop(tmp_path_factory.mktemp("requests"), SSH_TABLE + shells, ()) as laptop:
        with laptop.gateway.changed() as service:
            admin.change_groups(service, "dev", add=["dev"])
            admin.add_user(service, "bob", groups=["sre"], password=PASSWORD)
            admin.add_user(service, "eve", password=PASSWORD)
            for name in ("bob", "eve"):
                line = public(new_key(laptop.folder / name))
                log_in(service, name, line) if name == "bob" else admin.add_keys(
                    service, name, [line]
                )
            requests.add_rule(service, RULE)
        yield laptop
    echo.close()


@pytest.fixture(autouse=True)
def no_request_is_left(laptop: Laptop) -> Iterator[None]:
    yield
    with laptop.gateway.changed() as service:
        for request in requests.list_requests(service, open_only=True):
            requests.leave_request(service, request.id)
        # Tests are no flood.
        with service.database.write() as transaction:
            transaction.exec_driver_sql("UPDATE access_requests SET created_at = created_at - 7200")


@pytest.fixture
def config(laptop: Laptop) -> Path:
    return laptop.config()


def person(laptop: Laptop, name: str) -> Path:
    """Return the ssh_config of another user."""
    return laptop.config(key=laptop.folder / name, user=name)


def ssh(config: Path, *words: str, asks: re.Pattern[str] = ASKS) -> Waiting:
    return Waiting("ssh", "-F", config, *words, asks=asks)


def ask(laptop: Laptop, config: Path, *words: str) -> tuple[Waiting, int]:
    """Ask by `ssh gw request`, and return the program that waits, and the number."""
    asking = ssh(config, "gw", "request", *words, asks=MADE)
    number, _ = asking.asked()
    return asking, int(number)


def approve(laptop: Laptop, number: int, *more: str) -> None:
    by = person(laptop, "bob")
    done = laptop.ssh("gw", "request", "approve", str(number), *more, config=by)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr


def state(laptop: Laptop, number: int) -> RequestState:
    with laptop.gateway.service() as service:
        return requests.read_request(service, number).request.find_state(service.clock())


def open_requests(laptop: Laptop) -> Sequence[AccessRequest]:
    with laptop.gateway.service() as service:
        return requests.list_requests(service, open_only=True)


class Terminal:
    """ssh with a terminal, and a person who types."""

    def __init__(self, config: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            ["ssh", "-F", config, "-tt", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.shown = b""

    def read_until(self, text: str) -> re.Match[str]:
        assert self.process.stdout is not None
        while (match := re.search(text, self.shown.decode(errors="replace"))) is None:
            piece = os.read(self.process.stdout.fileno(), 4096)
            assert piece, self.shown
            self.shown += piece
        return match

    def type(self, keys: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(keys)
        self.process.stdin.flush()

    def end(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with self.process.stdin, self.process.stdout:
            self.shown += self.process.stdout.read()
            return self.process.wait(BOUND_S)


# Attacks.


@pytest.mark.access(9)
def test_a_requester_with_two_sign_ins_approves_nothing(laptop: Laptop, config: Path) -> None:
    asking, number = ask(laptop, config, "own", "INC-1")
    with laptop.gateway.changed() as service:
        admin.change_groups(service, "dev", add=["sre"])
        log_in(service, "dev", public(new_key(laptop.folder / f"second-{number}")))
    second = laptop.config(key=laptop.folder / f"second-{number}")
    refused = laptop.ssh("gw", "request", "approve", str(number), config=second)
    assert refused.returncode == 1
    assert f"request {number} is your own".encode() in refused.stderr
    with laptop.gateway.changed() as service:
        admin.change_groups(service, "dev", remove=["sre"])
    assert state(laptop, number) is RequestState.PENDING
    assert "request.refused" in str(laptop.gateway.audit())
    asking.kill()


@pytest.mark.access(9)
def test_others_see_no_request_and_programs_decide_on_none(laptop: Laptop, config: Path) -> None:
    asking, number = ask(laptop, config, "own", "INC-2")
    with laptop.gateway.changed() as service:
        admin.add_keys(service, "bob", [public(new_key(laptop.folder / f"plain-{number}"))])
        requests.add_rule(service, RequestRule(0, "user:eve", "x", approvers=("user:bob",)))
    plain = laptop.config(key=laptop.folder / f"plain-{number}", user="bob")
    refused = laptop.ssh("gw", "request", "approve", str(number), config=plain)
    assert b"only a person who has signed in decides" in refused.stderr
    for asked in (number, 999_999):
        hidden = laptop.ssh("gw", "request", "approve", str(asked), config=person(laptop, "eve"))
        assert hidden.stderr == (b"stagedoor: there is no such request, or you may not see it\n")
    asking.kill()


@pytest.mark.access(19)
def test_a_user_who_may_ask_for_nothing_gets_the_same_bytes_as_before(laptop: Laptop) -> None:
    """With rules about other users, and without any."""
    with laptop.gateway.changed() as service:
        admin.add_user(service, "out", password=PASSWORD)
        admin.add_keys(service, "out", [public(new_key(laptop.folder / "out"))])
    out = person(laptop, "out")
    commands = (
        ("own@gw", "true"),
        ("-W", "jumped.ssh:22", "gw"),
        ("-W", "no-such-app.ssh:22", "gw"),
        ("gw", "help"),
        ("gw", "request", "own", "INC-1"),
        ("gw", "request"),
    )

    def run() -> list[tuple[int, bytes, bytes]]:
        done = [laptop.ssh(*words, config=out) for words in commands]
        return [(d.returncode, d.stdout, d.stderr) for d in done]

    with_rules = run()
    with laptop.gateway.changed() as service:
        for number in admin.read_policy(service).request_rules:
            requests.remove_rule(service, number)
    try:
        assert run() == with_rules
    finally:
        with laptop.gateway.changed() as service:
            requests.add_rule(service, RULE)
    assert b"request" not in b"".join(out + err for _, out, err in with_rules).replace(
        b"'request", b""
    )


def test_an_app_that_may_be_asked_for_need_not_exist(laptop: Laptop, config: Path) -> None:
    shown = [laptop.ssh("-W", f"{app}.ssh:22", "gw").stderr for app in ("jumped", "never-was")]
    assert shown[0].replace(b"jumped", b"never-was") == shown[1]


@pytest.mark.access(21)
def test_five_connections_of_a_user_wait_and_the_sixth_is_refused(
    laptop: Laptop, config: Path
) -> None:
    waiting = [ssh(config, "own@gw", "true") for _ in range(5)]
    for connection in waiting:
        connection.asked()
    sixth = ssh(config, "own@gw", "true")
    assert sixth.end()[0] == 255
    assert "own is open on request" in sixth.said
    asking, number = ask(laptop, config, "own", "INC-20")
    assert asking.end()[0] == 1
    assert f"request {number} stays open: it is not decided yet" in asking.said
    laptop.ssh("gw", "request", "withdraw", str(number), check=True)
    for connection in waiting:
        connection.kill()
    wait_until(lambda: ssh_waits(config))


def ssh_waits(config: Path) -> bool:
    """Return whether a connection may wait again: the places of those who left are free."""
    one = ssh(config, "own@gw", "true")
    one.asked()
    waits = "This login waits" in one.said
    one.kill()
    return waits


# A terminal.


@pytest.mark.access(1)
def test_a_terminal_asks_for_the_reason_and_opens_by_itself(laptop: Laptop, config: Path) -> None:
    terminal = Terminal(config, "own@gw")
    terminal.read_until(r"own is open on request \(2 h at most; group:sre decides\)\. Reason: ")
    terminal.type(b"INC-42, stuck qx\x7fueue\n")
    number = int(terminal.read_until(r"request (\d+) waits for group:sre")[1])
    assert [r.reason for r in open_requests(laptop)] == ["INC-42, stuck queue"]
    approve(laptop, number, "--for", "30m")
    terminal.read_until("access granted: for 30 min")
    terminal.type(b"echo $((6*7)); exit 3\n")
    assert terminal.end() == 3, terminal.shown
    assert b"42" in terminal.shown
    opened = [e["fields"] for e in laptop.gateway.audit() if e["kind"] == "session.opened"][-1]
    assert (opened["grant"], opened["request"]) == (0, number)
    with laptop.gateway.service() as service:
        assert opened["grant_expires_at"] == requests.read_request(service, number).request.ends_at


@pytest.mark.access(6)
def test_ctrl_c_leaves_the_request_open(laptop: Laptop, config: Path) -> None:
    terminal = Terminal(config, "own@gw")
    terminal.read_until("Reason: ")
    terminal.type(b"INC-3\n")
    number = int(terminal.read_until(r"request (\d+) waits")[1])
    terminal.type(b"\x03")
    assert terminal.end() == 130
    assert state(laptop, number) is RequestState.PENDING
    approve(laptop, number)
    assert laptop.ssh("own@gw", "echo in").stdout == b"in\n"


def test_an_empty_reason_asks_for_nothing(laptop: Laptop, config: Path) -> None:
    for keys in (b"\n", b"INC\x03"):
        terminal = Terminal(config, "own@gw")
        terminal.read_until("Reason: ")
        terminal.type(keys)
        assert terminal.end() == 255
    assert open_requests(laptop) == []


def test_what_is_typed_for_the_gateway_is_not_typed_for_the_shell(
    laptop: Laptop, config: Path
) -> None:
    terminal = Terminal(config, "own@gw", "cat")
    terminal.read_until("Reason: ")
    terminal.type(b"INC-4\n")
    number = int(terminal.read_until(r"request (\d+) waits")[1])
    terminal.type(b"impatient keys")
    approve(laptop, number)
    terminal.read_until("access granted")
    terminal.type(b"after\n\x04")
    terminal.end()
    assert b"after" in terminal.shown
    assert b"impatient" not in terminal.shown
    assert terminal.shown.count(b"INC-4") == 1


# Programs.


@pytest.mark.access(2, 5)
def test_scp_rsync_and_git_wait_and_go_on(laptop: Laptop, config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("sent")
    repository = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", "--bare", str(repository)], check=True)
    by = f"ssh -F {config}"
    programs = [
        Waiting("scp", "-F", config, tmp_path / "file", f"own@gw:{tmp_path}/by-scp", asks=ASKS),
        Waiting("rsync", "-e", by, tmp_path / "file", f"own@gw:{tmp_path}/by-rsync", asks=ASKS),
        Waiting(
            *("git", "-c", f"core.sshCommand={by}", "ls-remote", f"own@gw:{repository}"),
            asks=ASKS,
        ),
        ssh(config, "own@gw", "echo $((6*7))"),
    ]
    for program in programs:
        program.asked()
    asking, number = ask(laptop, config, "own", "--for", "30m", "it's", "INC-5")
    assert len(open_requests(laptop)) == 1
    approve(laptop, number)
    assert [program.end() for program in programs] == [
        (0, b""),
        (0, b""),
        (0, b""),
        (0, b"42\n"),
    ], [program.said for program in programs]
    assert (tmp_path / "by-scp").read_text() == (tmp_path / "by-rsync").read_text() == "sent"
    assert asking.end() == (0, f"request {number} is approved for 30 min\n".encode())


@pytest.mark.access(2)
def test_a_program_gives_its_reason_by_a_variable(laptop: Laptop, config: Path) -> None:
    waiting = ssh(config, "-o", "SetEnv=STAGEDOOR_REASON=INC-6", "own@gw", "env", asks=WAITS)
    number = int(waiting.asked()[0])
    assert [r.reason for r in open_requests(laptop)] == ["INC-6"]
    approve(laptop, number)
    status, out = waiting.end()
    assert status == 0
    assert b"STAGEDOOR_REASON" not in out


@pytest.mark.access(7)
def test_a_grant_of_an_administrator_ends_the_wait_too(laptop: Laptop, config: Path) -> None:
    waiting = ssh(config, "other@gw", "echo in", asks=re.compile("(other is) (open on request)"))
    waiting.asked()
    with laptop.gateway.changed() as service:
        grant = admin.add_grant(service, "user:dev", "other")
    assert waiting.end() == (0, b"in\n")
    with laptop.gateway.changed() as service:
        admin.remove_grant(service, grant.id)


@pytest.mark.access(8)
def test_denied_and_withdrawn_requests_end_the_wait_with_a_line(
    laptop: Laptop, config: Path
) -> None:
    entered = count_sessions(laptop)
    asking, number = ask(laptop, config, "own", "INC-7")
    waiting = ssh(config, "own@gw", "true", asks=WAITS)
    waiting.asked()
    by = person(laptop, "bob")
    laptop.ssh("gw", "request", "deny", str(number), "use", "staging", config=by, check=True)
    line = f"request {number} was denied by bob: use staging"
    assert (waiting.end()[0], line in waiting.said) == (255, True)
    assert (asking.end()[0], line in asking.said) == (1, True)

    asking, number = ask(laptop, config, "own", "INC-8")
    assert b"INC-8" in laptop.ssh("gw", "request", config=by, check=True).stdout
    laptop.ssh("gw", "request", "withdraw", str(number), check=True)
    assert (asking.end()[0], f"request {number} is withdrawn" in asking.said) == (1, True)
    assert count_sessions(laptop) == entered


def count_sessions(laptop: Laptop) -> int:
    return sum(event["kind"] == "session.opened" for event in laptop.gateway.audit())


def approve_for(service: AdminService, lasts_s: float) -> AccessRequest:
    """Make a request of `dev` for `own`, and approve it."""
    made = requests.make_request(service, "dev", [Target("own")], find_rule(service), "x", lasts_s)
    return requests.decide(service, made.id, is_yes=True)


def find_rule(service: AdminService) -> RequestRule:
    rules = admin.read_policy(service).request_rules.values()
    return next(rule for rule in rules if rule.subject == RULE.subject)


@pytest.mark.access(8)
def test_a_login_that_waits_past_the_lapse_of_its_request_ends_with_a_line(
    laptop: Laptop, config: Path
) -> None:
    """The request was made an hour ago, but for some seconds. A wait shows a lapse at once.

    It takes more than five seconds on a busy machine, for the seconds until the lapse.
    """
    entered, left_s = count_sessions(laptop), allow(4)
    with laptop.gateway.changed() as service:
        before = replace(service, clock=lambda: time.time() - REQUEST_PENDING_S + left_s)
        made = requests.make_request(before, "dev", [Target("own")], find_rule(service), "INC-18")
    waiting = ssh(config, "own@gw", "true", asks=WAITS)
    asking, number = ask(laptop, config, "own", "INC-18")
    assert (waiting.asked(), number) == ((str(made.id), "for"), made.id)
    statuses = (waiting.end()[0], asking.end()[0])
    assert 0 <= time.time() - made.ends_at < allow(5)
    assert statuses == (255, 1)
    for program in (waiting, asking):
        assert f"request {made.id} has lapsed" in program.said
    assert count_sessions(laptop) == entered


@pytest.mark.access(14)
def test_a_session_ends_when_its_user_may_not_ask_any_more(laptop: Laptop, config: Path) -> None:
    asking, number = ask(laptop, config, "own", "INC-9")
    approve(laptop, number)
    assert asking.end()[0] == 0
    inside = ssh(config, "own@gw", "echo in >&2; sleep 1000", asks=re.compile("(i)(n)"))
    inside.asked()
    began = time.monotonic()
    with laptop.gateway.service() as service:
        admin.change_groups(service, "dev", remove=["dev"])
    assert inside.end()[0] != 0
    assert time.monotonic() - began < allow(5)
    with laptop.gateway.changed() as service:
        admin.change_groups(service, "dev", add=["dev"])


@pytest.mark.access(15)
def test_a_terminal_shows_that_its_access_ends_soon(laptop: Laptop, config: Path) -> None:
    """Two seconds, until there is a minute left."""
    asking, number = ask(laptop, config, "own", "--for", "62s", "INC-15")
    approve(laptop, number)
    assert asking.end()[0] == 0
    terminal = Terminal(config, "own@gw")
    terminal.read_until(r"access to own ends in 1 min; ask again to extend it")
    terminal.type(b"exit\n")
    assert terminal.end() == 0


@pytest.mark.access(15)
def test_a_session_lives_over_an_extension_and_no_longer(laptop: Laptop, config: Path) -> None:
    """It takes more than five seconds for the times of two requests."""
    with laptop.gateway.changed() as service:
        first = approve_for(service, allow(4))
    script = "while echo in; do sleep 0.2; done"
    session = ssh(config, "own@gw", f"({script}) >&2", asks=re.compile("(i)(n)"))
    session.asked()
    with laptop.gateway.changed() as service:
        second = approve_for(service, 4)
        first = requests.read_request(service, first.id).request
        assert (second.began_at, second.ends_at) == (first.ends_at, first.ends_at + 4)
    status, _ = session.end()
    ended_at = time.time()
    assert status != 0
    assert second.ends_at <= ended_at < second.ends_at + allow(5)


def test_access_for_later_is_asked_for_and_opens_nothing_before(
    laptop: Laptop, config: Path
) -> None:
    asking, number = ask(laptop, config, "own", "--from", "2h", "INC-16")
    approve(laptop, number)
    status, said = asking.end()
    assert status == 0
    assert re.search(rb"request %d is approved for 1 h, from .+Z on" % number, said)
    shown = laptop.ssh("gw", "request", check=True).stdout.decode()
    assert re.search(rf"{number}  approved  dev  own  1 h from \d{{4}}-.+Z  INC-16", shown)
    refused = laptop.ssh("-W", "own.ssh:22", "gw")
    assert re.search(
        rb"request %d opens it at .+Z\. own is open on request" % number, refused.stderr
    )
    wrong = laptop.ssh("gw", "request", "own", "--from", "tomorrow", "INC-17")
    assert (wrong.returncode, b"--from takes a time such as 2h" in wrong.stderr) == (2, True)


def test_a_client_that_leaves_gives_back_its_place(laptop: Laptop, config: Path) -> None:
    for _ in range(2):
        waiting = [ssh(config, "own@gw", "true") for _ in range(5)]
        for connection in waiting:
            connection.asked()
            connection.kill()
        wait_until(lambda: ssh_waits(config))


# Jumps and CONNECT.


@pytest.mark.access(4)
def test_a_jump_is_refused_with_how_to_ask_and_waits_while_a_request_is_pending(
    laptop: Laptop, config: Path
) -> None:
    refused = laptop.ssh("-W", "jumped.ssh:22", "gw")
    assert b"jumped is open on request (2 h at most; group:sre decides); ask: ssh " in (
        refused.stderr
    )
    asking, number = ask(laptop, config, "jumped", "INC-10")
    with subprocess.Popen(
        ["ssh", "-v", "-F", config, "-W", "jumped.ssh:22", "gw"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as jumped:
        assert jumped.stdin is not None
        assert jumped.stdout is not None
        assert jumped.stderr is not None
        for line in jumped.stderr:
            if b"waits for group:sre" in line:
                break
        approve(laptop, number)
        jumped.stdin.write(b"SSH-2.0-x\r\n")
        jumped.stdin.flush()
        assert jumped.stdout.readline() == b"SSH-2.0-x\r\n"
        jumped.kill()
    asking.end()


@pytest.mark.access(4)
def test_a_stock_connect_is_refused_with_how_to_ask_and_waits_while_a_request_is_pending(
    laptop: Laptop, config: Path
) -> None:
    port, connect = laptop.gateway.port("tunnel"), head("jumped.ssh:22", basic("dev", PASSWORD))
    refused = said(port, connect)
    assert refused.status == 403
    assert "jumped is open on request (2 h at most; group:sre decides); ask: " in refused.message
    asking, number = ask(laptop, config, "jumped", "INC-23")
    laptop.gateway.wait_for_policy()
    with dialled(port) as client:
        client.send(connect)
        assert state(laptop, number) is RequestState.PENDING
        approve(laptop, number)
        assert read_answer(client).status == 200
    asking.end()


@pytest.mark.access(4)
def test_access_that_must_be_recorded_opens_no_jump(laptop: Laptop, config: Path) -> None:
    """An attack: SSH in a jump goes through the gateway end to end, so nothing there is recorded."""
    recorded = replace(RULE, approvals=0, approvers=(), permissions=DEFAULT | {Permission.RECORD})
    with laptop.gateway.changed() as service:
        rule = requests.add_rule(service, recorded)
    try:
        assert laptop.ssh("gw", "request", "own", "INC-22").returncode == 0
        refused = laptop.ssh("-W", "own.ssh:22", "gw")
        assert b"opens own only where it is recorded: ssh own@" in refused.stderr
        assert laptop.ssh("own@gw", "true").returncode == 0
        assert b"opens own only" in laptop.ssh("-W", "own.ssh:22", "gw").stderr
    finally:
        with laptop.gateway.changed() as service:
            requests.remove_rule(service, rule.id)


@pytest.mark.access(3)
def test_the_tunnel_shows_how_to_ask_and_goes_on(laptop: Laptop, tmp_path: Path) -> None:
    asks = re.compile("(jumped.ssh:22): (access: jumped is open on request)")
    with open_terminal() as (near, take_terminal):
        waiting = tunnel(laptop, tmp_path, asks, preexec_fn=take_terminal)
        read_question(near)
        os.write(near, b"\n")
        waiting.asked()
        asking, number = ask(laptop, laptop.config(), "jumped", "INC-11")
        approve(laptop, number)
        assert waiting.end()[0] == 0, waiting.said
    assert asking.end()[0] == 0


def tunnel(laptop: Laptop, folder: Path, asks: re.Pattern[str], **options: Any) -> Waiting:
    """Run `stagedoor tunnel` to the app that jumps reach, with dev's password."""
    file = folder / "password"
    if not file.exists():  # another tunnel may be reading it
        file.touch(mode=0o600)
        file.write_text(PASSWORD)
    gateway = f"127.0.0.1:{laptop.gateway.port('tunnel')}"
    command = (sys.executable, "-m", "stagedoor", "tunnel", "--gateway", gateway, "--user", "dev")
    return Waiting(*command, "--token-file", str(file), "jumped.ssh", "22", asks=asks, **options)


@pytest.mark.access(3)
def test_the_tunnel_sends_the_reason_of_its_environment(laptop: Laptop, tmp_path: Path) -> None:
    env = {**os.environ, "STAGEDOOR_REASON": "INC-13, 50 % done"}
    waiting = tunnel(laptop, tmp_path, WAITS, env=env)
    number = int(waiting.asked()[0])
    assert [r.reason for r in open_requests(laptop)] == ["INC-13, 50 % done"]
    approve(laptop, number)
    assert waiting.end()[0] == 0, waiting.said


@pytest.mark.access(3)
def test_the_tunnel_asks_for_the_reason_at_the_terminal(laptop: Laptop, tmp_path: Path) -> None:
    with open_terminal() as (near, take_terminal):
        waiting = tunnel(laptop, tmp_path, WAITS, preexec_fn=take_terminal)
        assert b"jumped is open on request" in read_question(near)
        os.write(near, b"INC-14\n")
        number = int(waiting.asked()[0])
        assert [r.reason for r in open_requests(laptop)] == ["INC-14"]
        approve(laptop, number)
        assert waiting.end()[0] == 0, waiting.said


@pytest.mark.access(3)
def test_a_tunnel_without_a_terminal_says_how_to_ask_and_exits_with_22(
    laptop: Laptop, tmp_path: Path
) -> None:
    waiting = tunnel(laptop, tmp_path, WAITS, start_new_session=True)
    assert waiting.end()[0] == 22
    assert "jumped.ssh:22: jumped is open on request" in waiting.said
    assert "; ask: " in waiting.said
    assert "Traceback" not in waiting.said


@pytest.mark.access(21)
def test_tunnels_that_leave_give_back_their_places(laptop: Laptop, tmp_path: Path) -> None:
    env = {**os.environ, "STAGEDOOR_REASON": "INC-15"}
    for _ in range(2):
        waiting = [tunnel(laptop, tmp_path, WAITS, env=env) for _ in range(5)]
        for connection in waiting:
            connection.asked()
            connection.kill()
        wait_until(lambda: ssh_waits(laptop.config()))


def test_a_forward_that_is_refused_says_how_to_ask_for_it(laptop: Laptop, config: Path) -> None:
    forward = frozenset({Permission.ENTER, Permission.FORWARD})
    with laptop.gateway.changed() as service:
        grant = admin.add_grant(service, "user:dev", "own")
        rule = requests.add_rule(service, replace(RULE, app_pattern="own", permissions=forward))
    line = "own is open on request (2 h at most; group:sre decides); ask: ssh "
    refused = laptop.ssh("-W", "localhost:9", "own@gw")
    assert line.encode() in refused.stderr
    assert b"request own --allow forward REASON, then connect again" in refused.stderr
    asking, number = ask(laptop, config, "own", "--allow", "forward", "INC-16")
    [request] = open_requests(laptop)
    assert (request.rule, request.permissions) == (rule.id, forward)
    approve(laptop, number)
    assert asking.end()[0] == 0
    permitted = laptop.ssh("-W", "localhost:9", "own@gw")
    assert b"connect failed" in permitted.stderr, "by the shell, where no program listens"
    assert line.encode() not in permitted.stderr
    with laptop.gateway.changed() as service:
        began_at = requests.read_request(service, number).request.began_at
        assert began_at is not None, "the time counts though there is a grant to enter"
        admin.remove_grant(service, grant.id)
        requests.remove_rule(service, rule.id)


def test_a_request_names_apps_by_pattern(laptop: Laptop, config: Path) -> None:
    asking, _ = ask(laptop, config, "o*", "INC-12")
    [request] = open_requests(laptop)
    assert request.targets == (Target("other"), Target("own"))
    assert request.permissions == DEFAULT
    asking.kill()
