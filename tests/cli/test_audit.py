import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest
from msgspec.structs import replace

from stagedoor.admin.service import AdminService, find_account
from stagedoor.model.errors import NotFoundError, RefusedError, StagedoorError
from stagedoor.store.journal import StoreJournal
from tests.audit.receivers import http_server
from tests.cli.conftest import Desk
from tests.store.sample import closed, opened


def events(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_change_says_who_did_what_and_no_secret(alice: Desk) -> None:
    alice.out("user", "password", "alice", "--password-stdin", stdin="correct horse\n")
    token = alice.out("token", "create", "alice").strip()
    alice.out("grant", "add", "user:alice", "app01")
    alice.out("grant", "remove", "1")
    alice.out("user", "remove", "alice", "--yes")
    lines = events(alice.out("audit", "--json"))
    assert [e["fields"]["action"] for e in lines] == [  # type: ignore[index]  # JSON is untyped
        "user.add",
        "user.password",
        "token.create",
        "grant.add",
        "grant.remove",
        "user.remove",
    ]
    assert {e["identity"] for e in lines} == {find_account()}
    text = alice.out("audit") + alice.out("audit", "--json")
    for secret in ("correct horse", token, "$argon2id"):
        assert secret not in text


def test_root_by_sudo_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "carol")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert find_account().startswith("root(carol)@")
    monkeypatch.setenv("SUDO_USER", "x\x1b[2J")
    assert find_account().startswith("root@")


def test_the_audit_is_read_by_session_user_time_and_count(
    alice: Desk, service: AdminService
) -> None:
    now = time.time()
    StoreJournal(service.database).append(
        [
            opened("s-old-1", at=now - 7200),
            opened("s-new-1", at=now - 60, who="bob"),
            closed("s-new-1", at=now + 3600),  # after whatever a busy machine takes to ask
        ]
    )

    def sessions(*argv: str) -> list[object]:
        return [e["session"] for e in events(alice.out("audit", "--json", *argv)) if e["session"]]

    assert sessions() == ["s-old-1", "s-new-1", "s-new-1"]
    assert sessions("--since", "1h") == ["s-new-1", "s-new-1"]
    assert sessions("--session", "s-old") == ["s-old-1"]
    assert sessions("--user", "bob") == ["s-new-1"]
    assert sessions("-n", "1") == ["s-new-1"]
    assert sessions("--until", "1h") == ["s-old-1"]
    assert sessions("--since", "1h", "--until", "1s") == ["s-new-1"]
    assert sessions("--kind", "session.closed") == ["s-new-1"]
    assert sessions("--kind", "session.closed", "--kind", "session.opened", "--user", "alice") == [
        "s-old-1",
        "s-new-1",
    ]
    assert "session.opened" in alice.out("audit")


def test_the_audit_is_read_by_app_and_environment(alice: Desk, service: AdminService) -> None:
    targets = ("app01.ssh", "app01.staging.ssh", "app010.ssh", "app01.other.ssh")
    StoreJournal(service.database).append(
        [replace(opened(f"s-{target}"), target=target) for target in targets]
    )

    def found(app: str) -> list[object]:
        return [e["target"] for e in events(alice.out("audit", "--json", "--app", app))]

    assert found("app01") == ["app01.ssh", "app01.staging.ssh", "app01.other.ssh"]
    assert found("app01.staging") == ["app01.staging.ssh"]
    assert found("app01.staging.ssh") == ["app01.staging.ssh"]
    assert found("app0") == []


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--app", "app%"), "app%"),
        (("--kind", "session.bribed"), "session.bribed"),
        (("--until", "when"), "is not a time"),
        (("--follow", "--until", "1h"), "--until"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(alice: Desk, argv: tuple[str, ...], says: str) -> None:
    refused = alice.run("audit", *argv).exception
    assert isinstance(refused, click.UsageError)
    assert says in refused.format_message()


@pytest.mark.parametrize("option", ["--user", "--session"])
def test_an_empty_filter_is_not_taken_for_all_events(alice: Desk, option: str) -> None:
    with pytest.raises(RefusedError, match=option.removeprefix("--")):
        alice.out("audit", option, "")


def test_an_interrupt_before_the_end_is_not_taken_for_the_end(
    alice: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(event: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stagedoor.cli.audit._write_line", interrupt)
    assert isinstance(alice.run("audit").exception, click.Abort)


def test_the_audit_is_followed_as_it_grows_until_it_is_interrupted(
    alice: Desk, service: AdminService
) -> None:
    code = (
        "import sys, click\n"
        "from pathlib import Path\n"
        "from stagedoor.cli.audit import audit\n"
        "from stagedoor.cli.installation import Installation\n"
        "audit(sys.argv[2:], obj=Installation(Path(sys.argv[1])))\n"
    )
    following = subprocess.Popen(
        [sys.executable, "-c", code, alice.settings_file, "--follow", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert following.stdout is not None
    assert json.loads(following.stdout.readline())["kind"] == "policy.changed"
    for number in range(3):
        StoreJournal(service.database).append([opened(f"s{number}")])
        assert json.loads(following.stdout.readline())["session"] == f"s{number}"
    following.send_signal(signal.SIGINT)
    rest, _ = following.communicate(timeout=30)
    assert rest == ""
    assert following.returncode == 0


def exported(desk: Desk, *argv: str) -> list[str]:
    return desk.out("audit", "export", *argv).splitlines()


def verified(desk: Desk, *argv: str) -> dict[str, Any]:
    document: dict[str, Any] = desk.json("audit", "verify", *argv)
    return document


def test_an_export_is_confirmed_by_its_files_alone(
    alice: Desk, service: AdminService, tmp_path: Path
) -> None:
    StoreJournal(service.database).append([opened(f"s-{number}") for number in range(500)])
    first = exported(alice)
    StoreJournal(service.database).append([opened(f"t-{number}") for number in range(5)])
    older, newer, whole = (tmp_path / name for name in ("older", "newer", "whole"))
    older.write_text("\n".join([*first, ""]))
    newer.write_text("\n".join([*exported(alice, "--after", str(len(first))), ""]))
    whole.write_text(alice.out("audit", "export"))
    assert whole.read_text() == older.read_text() + newer.read_text()
    key = tmp_path / "key.pub"
    key.write_text(alice.out("audit", "key"))
    stranger = Desk(tmp_path / "no settings", tmp_path / "nowhere")
    result = verified(stranger, "--key", str(key), str(older), str(newer))
    # user.add, the sessions, and a checkpoint for each export that had news.
    assert (result["lines"], result["last"], result["confirmed"]) == (508, 508, 507)
    assert (result["from_start"], list(result["keys"].values())) == (True, [2])
    assert result["lines"] == verified(stranger, "--against", str(older), str(whole))["lines"]

    verdict = alice.run("audit", "verify", "--against", str(newer), str(older))
    assert isinstance(verdict.exception, StagedoorError)
    assert "the end was cut off" in str(verdict.exception)
    lines = whole.read_text().splitlines()
    lines[7] = lines[7].replace("alice", "bob")
    whole.write_text("\n".join([*lines, ""]))
    verdict = alice.run("audit", "verify", str(whole))
    assert f"{whole}, line 8: seq 8 was changed" in str(verdict.exception)


def test_what_the_lines_do_not_prove_has_a_status_of_its_own(
    alice: Desk, service: AdminService, tmp_path: Path
) -> None:
    """A script that asks for the status alone heard of none of these."""
    StoreJournal(service.database).append([opened(f"s-{number}") for number in range(5)])
    lines = exported(alice)
    key, whole, empty, behead = (
        tmp_path / name for name in ("key.pub", "whole", "empty", "behead")
    )
    key.write_text(alice.out("audit", "key"))
    whole.write_text("\n".join([*lines, ""]))
    empty.write_text("")
    behead.write_text("\n".join([*lines[3:], ""]))

    def status(*argv: str) -> tuple[int, str]:
        error = alice.run("audit", "verify", "--key", str(key), *argv).exception
        return (getattr(error, "exit_code", 0), str(error))

    assert status("--from-start", str(whole))[0] == 0
    assert status(str(empty)) == (5, status("--json", str(empty))[1])
    assert "no line is confirmed" in status(str(empty))[1]
    (tmp_path / "no checkpoint").write_text(lines[0] + "\n")
    assert status(str(tmp_path / "no checkpoint"))[0] == 5
    assert status(str(behead))[0] == 0
    assert status("--from-start", str(behead)) == (
        1,
        "these are not all lines that the gateway wrote: those before seq 4 are missing",
    )
    code, reason = status("--against", str(empty), str(whole))
    assert (code, "has no checkpoint by a given key" in reason) == (2, True)


def test_the_store_itself_is_told_to_have_been_changed(
    alice: Desk, service: AdminService, tmp_path: Path
) -> None:
    StoreJournal(service.database).append([opened(f"s-{number}") for number in range(9)])
    alice.out("audit", "export")
    with closing(sqlite3.connect(alice.data_dir / "stagedoor.db")) as store, store:
        store.execute("UPDATE audit_events SET identity = 'mallory' WHERE seq = 5")
    file = tmp_path / "export"
    file.write_text(alice.out("audit", "export"))
    result = alice.run("audit", "verify", str(file))
    assert "the lines from seq 1 to seq 10 are not those" in str(result.exception)


def test_options_for_printing_are_no_options_of_the_commands_below(alice: Desk) -> None:
    refused = alice.run("audit", "--user", "alice", "export").exception
    assert isinstance(refused, click.UsageError)
    assert "--user" in refused.format_message()


def test_sinks_are_listed_and_tried(alice: Desk, tmp_path: Path) -> None:
    assert isinstance(alice.run("audit", "sink", "test").exception, NotFoundError)
    token = tmp_path / "token"
    token.write_text("s3\N{EURO SIGN}cret\n", "utf-8")
    token.chmod(0o600)
    with http_server() as server, alice.settings_file.open("a") as settings:
        url = f"http://127.0.0.1:{server.server_port}/audit?key=s3cret"
        for name, more in (("good", ""), ("bad", f'token_file = "{token}"\n')):
            settings.write(f'[[audit.sinks]]\nname = "{name}"\nurl = "{url}"\n{more}')
        settings.write(f'[[audit.sinks]]\nname = "file"\nurl = "file://{tmp_path}/no/audit"\n')
        settings.flush()
        assert alice.out("audit", "sink", "test", "good") == "good: works\n"
        assert [json.loads(line)["seq"] for line in server.lines] == [1]
        result = alice.run("audit", "sink", "test")
        assert str(result.exception) == "2 sinks failed"
        assert "bad: " in result.stderr
        assert "file: " in result.stderr
    listed = alice.run("audit", "sink", "list")
    assert [(sink["name"], sink["backlog"]) for sink in alice.json("audit", "sink", "list")] == [
        ("good", 1),
        ("bad", 1),
        ("file", 1),
    ]
    for text in (result.stderr, result.stdout, listed.stdout):
        assert "cret" not in text
