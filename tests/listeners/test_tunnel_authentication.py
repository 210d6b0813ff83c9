"""Lines 23 to 29: who is asked, how, and what a guess costs."""

import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from stagedoor.authn import passwords, throttle
from stagedoor.authn.throttle import ThrottleLimits
from stagedoor.model.source import Source
from stagedoor.net.tcp import TcpStream
from tests.fixtures.gateway import static
from tests.listeners.conftest import PASSWORD
from tests.listeners.wire import Upstream, basic, bearer, head, said
from tests.listeners.worker import GatewayWorker, open_worker
from tests.waiting import wait_until

WRONG = "not the password"


@pytest.mark.line(23)
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([], id="none"),
        pytest.param([basic("dev", WRONG)], id="wrong password"),
        pytest.param([basic("nobody", PASSWORD)], id="unknown name"),
        pytest.param([bearer("sdt_" + "a" * 10 + "_" + "b" * 43)], id="unknown token"),
    ],
)
def test_without_a_right_credential_comes_407_with_both_challenges(
    worker: GatewayWorker, upstream: Upstream, fields: list[str]
) -> None:
    answer = said(worker.port, head("app01-ssh:22", *fields))
    assert answer.status == 407
    challenges = answer.all("Proxy-Authenticate")
    assert [c.split(" ")[0] for c in challenges] == ["Basic", "Bearer"]
    assert not upstream.dialled()


@pytest.mark.line(24)
@pytest.mark.parametrize(
    "name", ["Proxy-Authorization:", "proxy-authorization:  ", "PROXY-AUTHORIZATION:\t "]
)
@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC  "])
def test_case_and_spaces_of_the_header_do_not_matter(
    worker: GatewayWorker, upstream: Upstream, name: str, scheme: str
) -> None:
    credential = basic("dev", PASSWORD).removeprefix("Proxy-Authorization: Basic ")
    field = f"{name} {scheme} {credential} "
    assert said(worker.port, head("app01-ssh:22", field)).status == 200


@pytest.mark.line(25)
def test_two_credentials_get_400_though_both_are_right(
    worker: GatewayWorker, upstream: Upstream
) -> None:
    answer = said(worker.port, head("app01-ssh:22", worker.auth, worker.auth))
    assert answer.status == 400
    assert not upstream.dialled()


@pytest.mark.line(26)
def test_http_1_0_without_headers_is_asked_too(worker: GatewayWorker, upstream: Upstream) -> None:
    assert said(worker.port, b"CONNECT app01-ssh:22 HTTP/1.0\r\n\r\n").status == 407
    assert not upstream.dialled()
    alone = f"CONNECT app01-ssh:22 HTTP/1.0\r\n{worker.auth}\r\n\r\n"
    assert said(worker.port, alone.encode()).status == 200


def test_a_token_in_the_passwords_place_belongs_to_its_own_name_only(
    worker: GatewayWorker, upstream: Upstream
) -> None:
    assert said(worker.port, head("app01-ssh:22", basic("other", worker.token))).status == 407
    assert not upstream.dialled()
    assert said(worker.port, head("app01-ssh:22", basic("dev", worker.token))).status == 200


@pytest.mark.line(27)
def test_an_unknown_name_costs_the_work_of_a_wrong_password(
    worker: GatewayWorker, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work is compared, not the time: how many verifications, and with which parameters."""
    work: list[str] = []
    verify = passwords.verify

    def counted(password_hash: str, password: str) -> bool:
        work.append(password_hash.rsplit("$", 2)[0])  # "$argon2id$v=19$m=65536,t=3,p=4"
        return verify(password_hash, password)

    monkeypatch.setattr(passwords, "verify", counted)
    answers = {}
    for name in ("dev", "nobody", "other2"):
        work.clear()
        answers[name] = said(worker.port, head("app01-ssh:22", basic(name, WRONG + name)))
        assert len(work) == 1, name
        answers[name + " work"] = work[0]  # type: ignore[assignment]
    assert answers["dev work"] == answers["nobody work"] == answers["other2 work"]
    assert answers["dev"].message.replace("dev", "X") == answers["nobody"].message.replace(
        "nobody", "X"
    )
    assert "argon2id" in str(answers["dev work"])


@pytest.mark.line(28)
def test_no_answer_log_line_or_audit_event_holds_a_credential(
    worker: GatewayWorker, upstream: Upstream
) -> None:
    secrets = [WRONG, "hunter2hunter2", worker.token, worker.token[:-1]]
    answers = [
        said(worker.port, head("app01-ssh:22", basic("dev", WRONG))),
        said(worker.port, head("app01-ssh:22", basic("hunter2hunter2", ""))),
        said(worker.port, head("app01-ssh:22", bearer(worker.token[:-1]))),
        said(worker.port, head("app01-ssh:22", worker.auth, worker.auth)),
        said(worker.port, head("dev:hunter2hunter2@app01-ssh:22", worker.auth)),
        said(worker.port, head("app01-ssh:22", worker.auth + "\x00")),
    ]
    assert {answer.status for answer in answers} == {400, 407}
    worker.empty()
    worker.gateway.ledger.flush(5)
    written = [str(line) for line in worker.lines]
    written += [answer.line + repr(answer.headers) + answer.message for answer in answers]
    secrets += [basic("dev", secret).split()[-1] for secret in secrets]
    name_shown = "hunter2hunter2"
    for text in written:
        for secret in secrets:
            # What is sent in the name's place comes back as a name; it is no secret there.
            if secret == name_shown and f"for '{name_shown}'" in text:
                continue
            assert secret not in text
    for file in worker.data_dir.glob("stagedoor.db*"):
        content = file.read_bytes()
        for secret in secrets:
            if secret != name_shown:
                assert secret.encode() not in content, file


@pytest.fixture(params=[3.0])
def strict(
    shell: Upstream, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GatewayWorker]:
    """Two wrong passwords are free; the wait for the next is `param` seconds."""
    monkeypatch.setattr(
        throttle,
        "ThrottleLimits",
        partial(ThrottleLimits, free_tries=2, first_wait_s=request.param),
    )
    with open_worker(tmp_path, static("app01", shell.port)) as worker:
        with admin.open_service(worker.data_dir) as service:
            for name in ("dev2", "dev3"):
                admin.add_user(service, name, password=PASSWORD)
                admin.add_grant(service, f"user:{name}", "app01")
        worker.gateway.watch.poll()
        yield worker


@pytest.mark.line(29, 37)
@pytest.mark.parametrize("strict", [60.0], indirect=True)  # not over before the next is tried
def test_wrong_passwords_are_throttled_for_one_name_from_one_source_only(
    strict: GatewayWorker, upstream: Upstream
) -> None:
    def try_(name: str, password: str, source: str = "127.0.0.1") -> int:
        request = head("app01-ssh:22", basic(name, password))
        return said(strict.port, request, source).status

    for _ in range(20):  # to be asked is no failure
        assert said(strict.port, head("app01-ssh:22")).status == 407
    assert [try_("dev2", f"{WRONG} {n}") for n in range(2)] == [407, 407]
    answer = said(strict.port, head("app01-ssh:22", basic("dev2", PASSWORD)))
    assert answer.status == 429, "the right password too: a guesser must not learn of it"
    retry_after = answer.one("Retry-After")
    assert retry_after
    assert int(retry_after) >= 1
    assert try_("dev2", PASSWORD, "127.0.0.2") == 200, "another source is not locked out"
    assert try_("dev3", PASSWORD) == 200, "another name is not locked out"
    assert said(strict.port, head("app01-ssh:22", strict.auth)).status == 200, "nor is a token"


def test_the_wait_for_wrong_passwords_ends(strict: GatewayWorker, upstream: Upstream) -> None:
    right = head("app01-ssh:22", basic("dev2", PASSWORD))
    for n in range(2):
        wrong = head("app01-ssh:22", basic("dev2", f"{WRONG} {n}"))
        assert said(strict.port, wrong).status == 407
    statuses: list[int] = []

    def is_over() -> bool:
        statuses.append(said(strict.port, right).status)
        return statuses[-1] != 429

    wait_until(is_over, costly=True)
    assert {*statuses} == {429, 200}


def test_a_verified_password_is_not_verified_again_until_it_changes(
    worker: GatewayWorker, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = head("app01-ssh:22", basic("other", PASSWORD))
    assert said(worker.port, request).status == 200

    def fail(*_: object) -> bool:
        raise AssertionError("verified again")

    with monkeypatch.context() as patched:
        patched.setattr(passwords, "verify", fail)
        assert [said(worker.port, request).status for _ in range(5)] == [200] * 5
    with admin.open_service(worker.data_dir) as service:
        admin.set_password(service, "other", PASSWORD + " 2")
    worker.gateway.watch.poll()
    assert said(worker.port, request).status == 407


def test_the_secret_of_a_login_is_refused_where_others_can_read_it(
    worker: GatewayWorker, upstream: Upstream
) -> None:
    """On this machine it is judged; over plain http from another one it is not even looked up."""
    asked = head("app01-ssh:22", basic("dev", "sgl_" + "a" * 43))
    answer = said(worker.port, asked)
    assert (answer.status, "log in with: stagedoor login" in answer.message) == (407, True)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with ours:
        accepted = worker.gateway.tunnel_listener.serve_accepted
        source = Source.of("192.168.7.7", 40000)
        worker.loop.call_soon_threadsafe(accepted, TcpStream(theirs), source)
        ours.sendall(asked)
        got = ours.recv(4096)
    assert got.startswith(b"HTTP/1.1 400 ")
    assert b"plain http" in got
    assert not upstream.dialled()
