"""Every denial: the message to the developer, the line in the log, and the event in the audit."""

import re
import signal
from pathlib import Path

from stagedoor.admin import service as admin
from stagedoor.model.denial import Reason
from tests.fixtures.gateway import static
from tests.listeners.conftest import full
from tests.listeners.wire import basic, bearer, dialled, head, read_answer
from tests.path.faulty import Faulty, serving
from tests.ports import free_port

PASSWORD = "correct horse battery staple"
WRONG = "Tr0ub4dor&3 is wrong"
UNKNOWN_TOKEN = "sdt_" + "a" * 10 + "_" + "b" * 43

NOT_HERE = {
    Reason.DRAINING: "nobody is answered while the gateway drains: it does not listen",
    Reason.AUDIT_UNAVAILABLE: "tests/path/test_faults_store.py",
    Reason.START_TIMEOUT: "tests/session/test_flow.py",
    Reason.OVERLOADED: "tests/path/test_faults_load.py",
    Reason.SESSION_OVER: "tests/path/test_resume.py",
    Reason.RUN_LIMIT: "tests/ssh/test_runs.py",
    Reason.INTERNAL: "tests/listeners/test_tunnel_relayed.py",
    Reason.SHELL_UNAVAILABLE: "tests/listeners/test_tunnel_relayed.py",
}
"""The reasons that one healthy gateway never gives, and where each is tested."""

COUNTED_ONLY = {
    Reason.BAD_REQUEST,
    Reason.HEADER_TOO_LARGE,
    Reason.HEADER_TIMEOUT,
    Reason.SOURCE_NOT_ALLOWED,
    Reason.CREDENTIAL_MISSING,
    Reason.THROTTLED,
}
"""The reasons of requests that a stranger could send by the thousand: the audit sums them by source."""


def settings(gateway_port: int, closed: int, silent: int) -> str:
    return (
        '[listen]\nproxy_protocol_from = ["127.0.0.3/32"]\n'
        '[step_up]\ntargets = ["guarded"]\n'
        + static("closed", closed)
        + static("silent", silent)
        + static("guarded", closed)
        + static("inner", gateway_port, networks="10.0.0.0/8")
    )


def test_every_denial_is_answered_logged_and_audited_and_no_secret_is_in_any_of_it(
    tmp_path: Path,
) -> None:
    closed = free_port()
    with full() as silent, serving(tmp_path, settings(22, closed, silent)) as gateway:
        with gateway.service() as service:
            admin.add_user(service, "alice", password=PASSWORD)
            admin.add_grant(service, "user:alice", "app01", environment_pattern="staging")
            narrow = admin.create_token(service, "dev", scopes=["connect:app02"]).text
        gateway.wait_for_policy()
        secrets = [PASSWORD, WRONG, UNKNOWN_TOKEN, narrow, gateway.secret]
        secrets += [basic("alice", secret).split()[-1] for secret in (PASSWORD, WRONG)]
        auth = gateway.auth
        proxied = b"PROXY TCP4 203.0.113.9 10.0.0.2 40000 22\r\n"
        # request, source, status, reason, a part of the message
        cases: list[tuple[bytes, str, int, Reason, str]] = [
            (b"GET / HTTP/1.1\r\n\r\n", "127.0.0.1", 400, Reason.BAD_REQUEST, "CONNECT only"),
            (head("app01-ssh:22", auth, "X: " + "a" * 9000), "127.0.0.1", 431,
             Reason.HEADER_TOO_LARGE, "8192 bytes"),
            (b"CONNECT app01-ssh:22", "127.0.0.1", 408, Reason.HEADER_TIMEOUT, "after 10 s"),
            (head("db.internal:22", auth), "127.0.0.1", 403, Reason.TARGET_NOT_ALLOWED,
             "'db.internal' does not name an app's shell"),
            (head("app01-ssh:23", auth), "127.0.0.1", 403, Reason.TARGET_NOT_ALLOWED, "port 23"),
            (head("10.0.0.1:22", auth), "127.0.0.1", 403, Reason.TARGET_NOT_ALLOWED,
             "addresses are not allowed"),
            (proxied + head("app01-ssh:22", auth), "127.0.0.3", 403, Reason.SOURCE_NOT_ALLOWED,
             "not in an allowed network"),
            (head("app01-ssh:22"), "127.0.0.1", 407, Reason.CREDENTIAL_MISSING, "say who you are"),
            (head("app01-ssh:22", basic("alice", WRONG)), "127.0.0.1", 407,
             Reason.CREDENTIAL_WRONG, "wrong user name, password or token for 'alice'"),
            *(
                (head("app01-ssh:22", basic("alice", WRONG * times)), "127.0.0.1", 407,
                 Reason.CREDENTIAL_WRONG, "ask an administrator for a new password")
                for times in range(2, 6)
            ),
            (head("app01-ssh:22", basic("alice", WRONG)), "127.0.0.1", 429, Reason.THROTTLED,
             "try again in"),
            (head("app01-ssh:22", bearer(UNKNOWN_TOKEN)), "127.0.0.1", 407,
             Reason.CREDENTIAL_WRONG, "wrong token"),
            (head("app01-ssh:22", basic("alice", PASSWORD)), "127.0.0.2", 403, Reason.NO_GRANT,
             "no grant for 'alice' to enter app01"),
            (head("app01-ssh:22", bearer(narrow)), "127.0.0.1", 403, Reason.NO_GRANT, "scopes"),
            (head("guarded-ssh:22", auth), "127.0.0.1", 403, Reason.STEP_UP_NEEDED, "confirm your identity"),
            (head("app99-ssh:22", auth), "127.0.0.1", 404, Reason.NO_APP, "no app app99"),
            (head("inner-ssh:22", auth), "127.0.0.1", 403, Reason.ADDRESS_NOT_ALLOWED, "networks"),
            (head("closed-ssh:22", auth), "127.0.0.1", 502, Reason.UPSTREAM_REFUSED, "refused"),
            (head("silent-ssh:22", auth), "127.0.0.1", 504, Reason.UPSTREAM_TIMEOUT, "within 5 s"),
        ]  # fmt: skip
        assert {case[3] for case in cases} | set(NOT_HERE) == set(Reason)
        answers = ""
        for request, source, status, reason, part in cases:
            with dialled(gateway.own_port, source) as client:
                client.send(request)
                answer = read_answer(client)
            answers += f"{answer}"
            assert answer.status == status, (answer, reason)
            assert part in answer.message
            assert not re.search("stagedoor (grant|user|token|key) ", answer.message)
            assert (answer.one("Retry-After") is not None) == (status in (429, 503))
            assert len(answer.message.splitlines()) == 1
        assert not gateway.upstream.dialled()
        gateway.signal(signal.SIGTERM)
        assert gateway.process is not None
        assert gateway.process.wait(60) == 0
        gateway.stop()
        assert_logged(gateway, cases)
        assert_audited(gateway, cases)
        written = answers + "".join(str(line) for line in gateway.lines)
        for file in gateway.data_dir.glob("stagedoor.db*"):
            written += file.read_bytes().decode("latin-1")
        for secret in secrets:
            assert secret not in written


# What fails after the audit is open is a session that reached no shell; all else is a denial.
UNREACHED = {Reason.ADDRESS_NOT_ALLOWED, Reason.UPSTREAM_REFUSED, Reason.UPSTREAM_TIMEOUT}


MENDS = {
    "ask an administrator for a new password": "stagedoor user password NAME",
    "no grant for 'alice' to enter app01": "stagedoor grant add user:alice app01",
    "not in an allowed network": "listen.networks",
}
"""The command in the log and the audit, by the words that the developer reads in its place."""


def assert_logged(gateway: Faulty, cases: list[tuple[bytes, str, int, Reason, str]]) -> None:
    lines = gateway.sessions()
    assert len(lines) == len(cases), "one canonical line for each"
    for line, (_, source, _, reason, part) in zip(lines, cases, strict=True):
        if reason in UNREACHED:
            assert line["outcome"] == "unreached"
            assert line["identity"] == "dev"
        else:
            assert (line["outcome"], line["reason"]) == ("denied", reason.value)
        expected = "203.0.113.9" if reason is Reason.SOURCE_NOT_ALLOWED else source
        assert line["source"].startswith(expected + ":")
        assert MENDS.get(part, part) in line["detail"]


def assert_audited(gateway: Faulty, cases: list[tuple[bytes, str, int, Reason, str]]) -> None:
    events = gateway.audit()
    denied = [event for event in events if event["kind"] == "session.denied"]
    for reason in {case[3] for case in cases} - UNREACHED:
        count = sum(case[3] is reason for case in cases)
        mine = [event for event in denied if event["reason"] == reason]
        if reason in COUNTED_ONLY:
            assert sum(event["fields"]["count"] for event in mine) == count, mine
        else:
            parts = [MENDS.get(case[4], case[4]) for case in cases if case[3] is reason]
            assert len(mine) == count
            assert all(
                part in event["fields"]["message"] for event, part in zip(mine, parts, strict=True)
            )
    unreached = [e for e in events if e["kind"] == "session.closed" and e["reason"] == "unreached"]
    assert len(unreached) == sum(case[3] in UNREACHED for case in cases)
    assert sum(e["kind"] == "session.opened" for e in events) == len(unreached)
