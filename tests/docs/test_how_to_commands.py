"""The administrator's pages, read from the top: each `stagedoor` line works after those before it."""

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Desk, desk
from tests.docs import pages
from tests.fixtures.laptop import new_key

PAGE = pages.ADMINISTRATION[0]
PASSWORD = "correct horse battery staple\n"
__all__ = ["desk"]


def lines() -> list[list[str]]:
    return [
        call
        for page in pages.ADMINISTRATION
        for block in pages.blocks("sh")
        if block.page == page
        for call in pages.calls(block)
    ]


def as_here(call: list[str], desk: Desk) -> list[str]:
    """The same line with this installation's ids in the example's place; it may not follow for ever."""
    match call:
        case ["token", "revoke", _]:
            return [*call[:2], str(desk.json("token", "list")[0]["id"])]
        case ["key", "remove", _]:
            return [*call[:2], str(desk.json("key", "list")[0]["fingerprint"])]
        case ["user", "remove", _]:
            return [*call, "--yes"]
        case ["store", "backup", _]:
            return [*call[:2], str(desk.data_dir)]
        case ["user", "password", _]:
            return [*call, "--password-stdin"]
        case ["user", "add", *rest] if "--no-password" not in rest:
            return [*call, "--password-stdin"]
    return call


def test_every_line_works_in_its_order(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    new_key(tmp_path / "alice")
    found = lines()
    assert len(found) > 20
    for call in found:
        if "--follow" in call or call[0] == "serve":
            continue  # they do not end
        result = desk.run(*as_here(call, desk), stdin=PASSWORD)
        if call[:2] == ["session", "close"] and "--user" not in call:
            # An id that nobody can have here: the line is one that the program takes.
            assert "there is no session" in str(result.exception)
            continue
        assert result.exception is None, (call, result.exception)


@pytest.mark.parametrize(
    "page",
    [
        *pages.ADMINISTRATION,
        pages.ROOT / "docs/how-to/developer.md",
        pages.ROOT / "docs/how-to/postgresql.md",
    ],
    ids=pages.name,
)
def test_folders_that_are_written_to_are_there_or_made_before(page: Path) -> None:
    """`ln -s … ~/.local/bin/x` fails on a machine where nobody made that folder."""
    there = {"/etc/systemd/system", "/usr/local/bin", "/var/backups", "/etc"}
    for block in pages.blocks("sh"):
        if block.page != page:
            continue
        for line in block.text.splitlines():
            there |= set(re.findall(r"(?:mkdir -p|install -d(?: -\w \S+)*) (\S+)", line))
            match = re.fullmatch(r"ln -s \S+ (\S+)/[^/]+", line)
            if match is not None:
                assert match[1] in there, line


def test_every_program_that_the_page_starts_is_of_a_package_that_it_installs() -> None:
    """On a minimal Debian; systemd, and what `Priority: required` has, are there."""
    required = {"cp", "ln", "rm", "install", "apt-get", "cd", "umask", "cat", "stagedoor"}
    required |= {"systemctl", "journalctl"}
    provided = {"python3": "python3", "adduser": "adduser", "ssh-keygen": "openssh-client"}
    provided |= {"scp": "openssh-client"}
    text = pages.text(PAGE)
    installed = set(re.findall(r"^apt-get install (.+)$", text, re.MULTILINE)[0].split())
    for block in pages.blocks("sh"):
        # A line of Python begins further in, or with one of its words.
        for line in block.text.splitlines() if block.page in pages.ADMINISTRATION else ():
            program = re.match(r"[a-z][a-z0-9-]*(?= |$)", line)
            if program is not None and program[0] not in required | {"import"}:
                assert provided[program[0]] in installed, line
