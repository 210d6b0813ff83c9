"""The output of a listing that has nothing to show: nothing on stdout, and one note for the person."""

import json
import re
import shlex

import pytest

from stagedoor.admin.service import open_service
from stagedoor.cli import show
from tests.cli.conftest import Desk
from tests.cli.test_help import COMMANDS

LISTINGS = [path for path in COMMANDS if path[-1] == "list"]


@pytest.fixture
def new(desk: Desk) -> Desk:
    """An installation whose store has just been made."""
    with open_service(desk.data_dir):
        return desk


@pytest.mark.parametrize(
    "argv",
    [
        *LISTINGS,
        ("audit",),
        ("audit", "--since", "8h"),
        ("recording", "list", "--user", "alice"),
        ("session", "list", "--user", "alice"),
        ("session", "list", "--all"),
        ("sign-in", "list", "--user", "alice"),
    ],
    ids=" ".join,
)
def test_an_empty_listing_says_what_would_fill_it(new: Desk, argv: tuple[str, ...]) -> None:
    listed = new.run(*argv)
    assert (listed.exception, listed.exit_code, listed.stdout) == (None, 0, "")
    assert re.fullmatch(r"No [^\n;]+; [^\n]+\n", listed.stderr)
    assert ("alice" in listed.stderr) == ("alice" in argv)
    _, names_one, command = listed.stderr.partition("stagedoor ")
    if names_one:
        assert new.run(*shlex.split(command), "--help").exception is None


@pytest.mark.parametrize("kind", ["key", "passkey", "token"])
def test_a_listing_of_a_user_s_says_so(alice: Desk, kind: str) -> None:
    assert alice.notes(kind, "list", "alice").startswith(f"No {kind}s of alice; ")


def test_a_user_s_groups_may_be_none(alice: Desk) -> None:
    assert alice.notes("user", "group", "alice") == (
        "No groups of alice; join one: stagedoor user group alice --add GROUP\n"
    )


@pytest.mark.parametrize("path", LISTINGS, ids=" ".join)
def test_for_a_program_an_empty_listing_is_an_empty_list(new: Desk, path: tuple[str, ...]) -> None:
    listed = new.run(*path, "--json")
    assert (json.loads(listed.stdout), listed.stderr) == ([], "")


def test_no_cell_controls_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show.print_table([{"subject": "a\x1b[2J\x9bm\u202e"}])
    assert capsys.readouterr().out.splitlines()[1] == "a\ufffd[2J\ufffdm\ufffd"


def test_where_the_settings_could_have_filled_it_it_says_which(new: Desk) -> None:
    assert "[[audit.sinks]]" in new.notes("audit", "sink", "list")
    assert "[[shells.static]]" in new.notes("app", "list")
    assert "[[sso]]" in new.notes("sso", "list")


def test_the_audit_of_no_lines_says_nothing(new: Desk) -> None:
    assert new.notes("audit", "-n", "0") == ""
