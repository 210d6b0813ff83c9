"""The real program in a process of its own: what a script sees of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stagedoor import __version__
from stagedoor.cli.app import describe_version
from tests.cli.conftest import Desk


def run(desk: Desk, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stagedoor.cli.main", *argv],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"STAGEDOOR_CONFIG": str(desk.settings_file)},
    )


def test_an_installation_is_set_up_by_a_script(desk: Desk) -> None:
    added = run(desk, "user", "add", "alice", "--password-stdin", stdin="correct horse\n")
    assert (added.returncode, added.stdout) == (0, "")
    assert "stagedoor grant add user:alice APP" in added.stderr
    assert run(desk, "grant", "add", "user:alice", "app*").returncode == 0
    token = run(desk, "token", "create", "alice", "--expires", "1d")
    assert token.stdout.startswith("sdt_")
    assert token.stdout.count("\n") == 1
    listed = json.loads(run(desk, "token", "list", "--json").stdout)
    assert [row["user"] for row in listed] == ["alice"]
    audit = run(desk, "audit")
    assert audit.stdout.count("\n") == 3
    assert "\x1b" not in audit.stdout, "colour only on a terminal"


@pytest.mark.parametrize(
    ("argv", "message"),
    [("user add bob --password-stdin", "no password on stdin"), ("user remove alice", "use --yes")],
)
def test_a_closed_stdin_is_an_empty_one(alice: Desk, argv: str, message: str) -> None:
    ran = subprocess.run(
        ["sh", "-c", f'exec "{sys.executable}" -m stagedoor.cli.main {argv} <&-'],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"STAGEDOOR_CONFIG": str(alice.settings_file)},
    )
    assert ran.returncode == 2
    assert message in ran.stderr


def test_output_to_a_full_disk_is_told_as_that(alice: Desk) -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "stagedoor.cli.main", "token", "create", "alice"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            env=os.environ | {"STAGEDOOR_CONFIG": str(alice.settings_file)},
        )
    assert ran.returncode == 1
    assert "the output cannot be written: No space left on device" in ran.stderr
    assert "fault" not in ran.stderr


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (("user", "remove", "bob", "--yes"), 3, "stagedoor: there is no user bob"),
        (("user", "add", "alice", "--no-password"), 4, "stagedoor: the user alice is there"),
        (("user", "add", "ALICE", "--no-password"), 2, "stagedoor: 'ALICE' is not a user name"),
        (("user", "add", "carol"), 2, "--password-stdin"),
        (("grant", "add", "alice", "app01"), 2, "write user:alice or group:alice"),
        (("session", "close", "0199ffffffff"), 3, "stagedoor: there is no session"),
        (("token", "create", "alice", "--expires", "soon"), 2, "is not a time"),
    ],
)
def test_a_failure_is_one_line_and_a_number(
    alice: Desk, argv: tuple[str, ...], code: int, message: str
) -> None:
    ran = run(alice, *argv)
    assert ran.returncode == code
    assert ran.stdout == ""
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_store_that_cannot_be_used_is_told_without_a_traceback(alice: Desk) -> None:
    (alice.data_dir / "stagedoor.db").write_text(
        "this is no database, it is a shopping list\n" * 99
    )
    ran = run(alice, "user", "list")
    assert ran.returncode == 1
    assert ran.stderr.startswith("stagedoor: the store ")
    assert "not a SQLite database" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_reader_that_has_seen_enough_is_no_failure_to_shout_about(alice: Desk) -> None:
    for number in range(30):
        alice.out("user", "add", f"user{number}", "--no-password")
    ran = subprocess.run(
        f"{sys.executable} -m stagedoor.cli.main audit | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"STAGEDOOR_CONFIG": str(alice.settings_file)},
    )
    assert ran.stdout.count("\n") == 1
    assert "Traceback" not in ran.stderr


def test_the_version_names_the_commit_that_it_was_built_of(tmp_path: Path) -> None:
    file = tmp_path / "commit"
    assert describe_version(file) == __version__
    file.write_text("0123456789ab-dirty\n")
    assert describe_version(file) == f"{__version__} (commit 0123456789ab-dirty)"
