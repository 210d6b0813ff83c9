"""`script/demo --check`: every row is there, and a row that fails or cannot run says so."""

import asyncio
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from acceptance import check as checking
from acceptance import doors, machine_login
from acceptance.__main__ import demo
from acceptance.check import Row, run_row
from acceptance.clients import CLIENTS, NC
from acceptance.reach import reach
from acceptance.verdict import FailedError, NotHereError, Result, expect, need, untried
from stagedoor.demo.clients import DemoLogin

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    *[client.name for client in CLIENTS],
    "one-file script (--print-script)",
    "a token in the password's place",
    "scp (sftp protocol)",
    "scp -O (scp protocol)",
    "sftp put, get",
    "rsync",
    "sshfs mount, read, write, unmount",
    "LocalForward",
    "RemoteForward",
    "DynamicForward",
    "ControlMaster, 10 sessions in one tunnel",
    "ssh -t with tmux, left and come back",
    "git clone, push",
    "ssh through a network that is cut for 5 s",
    "ssh through an upgrade of the gateway",
    "ssh -J",
    "ssh -W as ProxyCommand",
    "scp -J",
    "sftp -J",
    "rsync over a jump",
    "LocalForward over a jump",
    "ssh app01@gateway",
    "scp app01@gateway",
    "sftp app01@gateway",
    "ssh dev@gateway ls --json",
    "refused: jumping elsewhere",
    "WebShell by HTTP and WebSocket",
    "WebShell in a browser",
    "stagedoor attach",
    "ssh dev@gateway run",
    "stagedoor run",
    "stagedoor login, ssh alone, its end",
    "refused: no credential",
    "refused: a wrong password",
    "refused: no grant",
    "refused: a foreign host name",
    "refused: an IP literal",
    "refused: another port",
    "session list, close",
    "grant remove closes what it covered",
    "access on request: asked for and approved",
]


@pytest.mark.continuity(20)
@pytest.mark.timeout(300)
def test_the_check_drives_every_way_in_and_passes(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "script/demo", "--check", "--json"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert list(rows) == ROWS
    assert [row for row in rows.values() if row["result"] == "FAILED"] == []
    assert done.returncode == 0
    assert done.stderr == ""
    missing = [row for row in rows.values() if row["result"] == "not here"]
    assert all(row["why"] for row in missing)
    assert not missing or os.environ.get("CI") != "true", missing
    assert list(tmp_path.iterdir()) == []


def test_a_client_that_is_not_here_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    login = DemoLogin("127.0.0.1", 1, "dev", "secret", tmp_path / "token", tmp_path)
    for client in CLIENTS:
        if client.package is not None:
            with pytest.raises(NotHereError, match=f"apt-get install {client.package}$"):
                reach(client, login, tmp_path / "config")
    with pytest.raises(NotHereError, match=r"apt-get install fuse3 openssh-client rsync$"):
        need("fusermount3", "ssh", "scp", "rsync")


@pytest.mark.parametrize("other", ["ncat", "nc.traditional", "busybox"])
def test_an_nc_that_is_another_program_does_not_count_as_nc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    (tmp_path / other).write_text("#!/bin/sh\n")
    (tmp_path / other).chmod(0o755)
    (tmp_path / "nc").symlink_to(tmp_path / other)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert NC.missing == "apt-get install netcat-openbsd"


def fails(_: Path) -> None:
    raise FailedError("it went wrong")


def is_missing(_: Path) -> None:
    raise NotHereError("apt-get install it")


def has_a_fault(_: Path) -> None:
    raise ZeroDivisionError("by us")


@pytest.mark.parametrize(
    ("drive", "word", "why"),
    [
        (lambda _: None, "ok", ""),
        (lambda _: "by nc", "ok", "by nc"),
        (fails, "FAILED", "it went wrong"),
        (is_missing, "not here", "apt-get install it"),
        (has_a_fault, "FAILED", "ZeroDivisionError: by us"),
    ],
)
def test_a_row_comes_to_a_result_whatever_happens(
    tmp_path: Path, drive: Callable[[Path], object], word: str, why: str
) -> None:
    result = run_row(Row("name", drive), tmp_path / "row")
    assert (result.word, result.why) == (word, why)


@pytest.mark.parametrize(
    ("oks", "code"), [([True], 0), ([True, None], 0), ([True, False, None], 1)]
)
def test_the_exit_code_is_0_only_if_all_that_could_run_passed(
    monkeypatch: pytest.MonkeyPatch, oks: list[bool | None], code: int
) -> None:
    results = [Result(f"row {n}", ok, "" if ok else "why") for n, ok in enumerate(oks)]

    async def check(report: Callable[[Result], None]) -> list[Result]:
        for result in results:
            report(result)
        return results

    monkeypatch.setattr(checking, "check", check)
    table = CliRunner().invoke(demo, ["--check"])
    assert table.exit_code == code
    assert [line.split("  ")[0] for line in table.stdout.splitlines()[: len(oks)]] == [
        result.name for result in results
    ]
    [counts] = [line for line in table.stdout.splitlines() if " ok" in line and ", in " in line]
    assert f"{oks.count(True)} ok" in counts
    as_json = CliRunner().invoke(demo, ["--check", "--json"])
    assert as_json.exit_code == code
    assert [row["result"] for row in json.loads(as_json.stdout)] == [r.word for r in results]


def test_the_last_line_says_what_was_not_tried_and_what_would_try_it() -> None:
    results = [
        Result("nc", True),
        Result("WebShell in a browser", None, "", 0.0, ("chromium",)),
        Result("sshfs", None, "/dev/fuse is missing"),
        Result("scp", None, "", 0.0, ("openssh-client", "chromium")),
    ]
    assert untried(results) == (
        "not tried: WebShell in a browser, sshfs (/dev/fuse is missing), scp; "
        "to try all of it, as root: apt-get install chromium openssh-client"
    )
    assert untried(results[2:3]) == "not tried: sshfs (/dev/fuse is missing)"
    assert untried(results[:1]) == ""


def test_a_row_that_is_not_here_carries_its_packages(tmp_path: Path) -> None:
    def drive(_: Path) -> None:
        raise NotHereError(packages=["chromium"])

    result = run_row(Row("name", drive), tmp_path / "row")
    assert (result.why, result.packages) == ("apt-get install chromium", ("chromium",))


def test_without_a_browser_a_person_signs_in_and_types_by_http(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a machine without Chromium these rows are tried all the same."""
    monkeypatch.setattr(machine_login, "find_chromium", lambda: None)
    names = ("WebShell by HTTP and WebSocket", "stagedoor login, ssh alone, its end")
    every = checking.rows_of
    monkeypatch.setattr(
        checking, "rows_of", lambda demo: [row for row in every(demo) if row.name in names]
    )
    results = asyncio.run(checking.check(lambda _: None))
    assert [(result.name, result.word) for result in results] == [(name, "ok") for name in names], (
        results
    )
    assert "by HTTP, for want of a browser" in results[1].why


def test_what_is_missing_for_the_demo_is_named_at_once() -> None:
    """As for a user who may not install it: Python's venv, and ssh."""
    absent = "id() { echo 1000; }; has_base() { return 1; }; PATH=/nowhere need ssh openssh-client"
    done = subprocess.run(
        ["bash", "-c", f"root={ROOT}; . {ROOT}/script/environment.sh; {absent}"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.endswith("as root: apt-get install python3 python3-venv openssh-client\n")


def test_a_gateway_that_lets_everybody_in_fails_the_denials() -> None:
    """The drive itself can fail: against a proxy that says 200 to all, and one that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            conn, _ = listener.accept()
            with conn:
                conn.recv(4096)
                conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                conn.recv(1)

        threading.Thread(target=serve, daemon=True).start()
        port = listener.getsockname()[1]
        login = DemoLogin("127.0.0.1", port, "dev", "secret", Path("token"), Path())
        with pytest.raises(FailedError, match="let in"):
            doors.check_refused(login, "www.example.com", 22, 403)
    with pytest.raises(FailedError, match="no answer"):
        doors.check_refused(login, "www.example.com", 22, 403)


def test_expecting_what_is_not_so_fails() -> None:
    expect(1, "never")
    with pytest.raises(FailedError, match="why"):
        expect("", "why")
