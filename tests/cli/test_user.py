import sys

import click
import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.service import AdminService
from stagedoor.authn.passwords import verify
from stagedoor.keys.files import format_public_line, make_key
from stagedoor.model.errors import ConflictError, NotFoundError, RefusedError, StoreError
from stagedoor.store.journal import StoreJournal
from tests.cli.conftest import Desk
from tests.fixtures.terminal import console
from tests.store.sample import opened


def test_a_user_is_added_listed_and_removed(desk: Desk) -> None:
    desk.out("user", "add", "alice", "--group", "dev", "--password-stdin", stdin="correct horse\n")
    assert desk.json("user", "list") == [
        {
            "name": "alice",
            "groups": ["dev"],
            "password": True,
            "keys": 0,
            "tokens": 0,
            "disabled": False,
            "last_login": None,
            "access_set": None,
        }
    ]
    head, row = desk.out("user", "list").splitlines()
    assert head.split() == [
        "NAME",
        "GROUPS",
        "PASSWORD",
        "KEYS",
        "TOKENS",
        "DISABLED",
        "LAST",
        "LOGIN",
    ]
    assert row.split() == ["alice", "dev", "yes", "0", "0", "no", "never"]
    desk.out("user", "remove", "alice", "--yes")
    assert desk.json("user", "list") == []


def test_the_list_has_the_last_login_and_may_be_of_one_group(
    alice: Desk, service: AdminService
) -> None:
    alice.out("user", "add", "bob", "--no-password", "--group", "ops")
    StoreJournal(service.database).append([opened("s-1", at=200.0), opened("s-2", at=100.0)])
    rows = {row["name"]: row["last_login"] for row in alice.json("user", "list")}
    assert rows == {"alice": "1970-01-01T00:03:20.000Z", "bob": None}
    assert [row["name"] for row in alice.json("user", "list", "--group", "ops")] == ["bob"]
    assert alice.json("user", "list", "--group", "nowhere") == []


def test_the_password_is_kept_as_a_hash_that_it_alone_opens(
    alice: Desk, service: AdminService
) -> None:
    alice.out("user", "password", "alice", "--password-stdin", stdin="correct horse\n")
    stored = admin.read_policy(service).users["alice"].password_hash
    assert stored is not None
    assert stored.startswith("$argon2id$")
    assert verify(stored, "correct horse")
    assert b"correct horse" not in (alice.data_dir / "stagedoor.db-wal").read_bytes()


def test_a_new_password_replaces_the_old_one(alice: Desk, service: AdminService) -> None:
    alice.out("user", "password", "alice", "--password-stdin", stdin="correct horse\n")
    alice.out("user", "password", "alice", "--password-stdin", stdin="battery staple\n")
    stored = admin.read_policy(service).users["alice"].password_hash
    assert stored is not None
    assert verify(stored, "battery staple")
    assert not verify(stored, "correct horse")
    alice.out("user", "password", "alice", "--remove")
    assert admin.read_policy(service).users["alice"].password_hash is None


@pytest.mark.parametrize(
    "password", ["short", "x" * 1025, "tab\tin it", "sdt_abcdefghij_" + "x" * 43]
)
def test_a_password_that_could_not_serve_is_refused_and_not_repeated(
    desk: Desk, password: str
) -> None:
    with pytest.raises(RefusedError) as e:
        desk.out("user", "add", "bob", "--password-stdin", stdin=password + "\n")
    assert password not in str(e.value)
    assert e.value.exit_code == 2


@pytest.mark.parametrize("stdin", ["", "\n"])
def test_an_empty_password_is_no_password(desk: Desk, stdin: str) -> None:
    with pytest.raises(click.UsageError, match="no password on stdin"):
        desk.out("user", "add", "bob", "--password-stdin", stdin=stdin)


def test_without_a_terminal_a_password_is_never_asked_for(desk: Desk) -> None:
    with pytest.raises(click.UsageError, match="--password-stdin"):
        desk.out("user", "add", "bob", stdin="secret secret\n")


@pytest.mark.parametrize(
    "name", ["", "Alice", "al:ice", "../x", "-x", "ali\u0441e", "a" * 65, "a b", "a\n"]
)
def test_names_that_look_alike_or_break_http_basic_are_refused(desk: Desk, name: str) -> None:
    result = desk.run("user", "add", "--no-password", "--", name)
    assert isinstance(result.exception, RefusedError)


def test_a_second_user_of_the_same_name_is_refused(alice: Desk) -> None:
    with pytest.raises(ConflictError, match="there already") as e:
        alice.out("user", "add", "alice", "--no-password")
    assert e.value.exit_code == 4


@pytest.mark.parametrize(
    "argv",
    [
        ("user", "remove", "bob", "--yes"),
        ("user", "password", "bob", "--remove"),
        ("user", "group", "bob"),
        ("user", "group", "bob", "--add", "dev"),
        ("key", "list", "bob"),
        ("token", "list", "bob"),
        ("token", "create", "bob"),
        ("grant", "add", "user:bob", "app01"),
    ],
)
def test_an_unknown_user_is_named_with_the_command_that_lists_them(
    alice: Desk, argv: tuple[str, ...]
) -> None:
    with pytest.raises(NotFoundError, match="no user bob; see `stagedoor user list`") as e:
        alice.out(*argv)
    assert e.value.exit_code == 3


def test_a_user_is_disabled_and_enabled_and_keeps_everything(
    alice: Desk, service: AdminService
) -> None:
    alice.out("user", "group", "alice", "--add", "dev")
    admin.create_token(service, "alice")
    assert alice.notes("user", "disable", "alice") == "alice is disabled.\n"
    assert alice.notes("user", "disable", "alice") == "alice is disabled already.\n"
    policy = admin.read_policy(service)
    assert policy.users == {}
    assert list(policy.disabled) == ["alice"]
    # Whatever is changed meanwhile, it stays so.
    alice.out("user", "password", "alice", "--password-stdin", stdin="correct horse\n")
    assert alice.out("user", "group", "alice", "--add", "ops") == "dev\nops\n"
    with pytest.raises(RefusedError, match="user enable alice"):
        alice.out("web-link", "alice", "--url", "https://x.example")
    with pytest.raises(RefusedError, match="user enable alice"):
        alice.out("user", "invite", "alice", "--url", "https://x.example")
    [listed] = alice.json("user", "list")
    assert (listed["disabled"], listed["groups"], listed["tokens"]) == (True, ["dev", "ops"], 1)
    assert alice.notes("user", "enable", "alice") == "alice is enabled.\n"
    assert alice.notes("user", "enable", "alice") == "alice is not disabled.\n"
    assert list(admin.read_policy(service).users) == ["alice"]
    with pytest.raises(NotFoundError, match="no user bob"):
        alice.out("user", "disable", "bob")
    # A new user of that name is not disabled.
    alice.out("user", "disable", "alice")
    alice.out("user", "remove", "alice", "--yes")
    alice.out("user", "add", "alice", "--no-password")
    assert list(admin.read_policy(service).users) == ["alice"]


def test_all_about_a_user_is_shown(alice: Desk, service: AdminService) -> None:
    alice.out("user", "group", "alice", "--add", "dev")
    key = format_public_line(make_key())
    admin.add_keys(service, "alice", [key + " laptop"])
    admin.add_grant(service, "group:dev", "app*")
    token = admin.create_token(service, "alice", scopes=["connect:app01"])
    user = alice.json("user", "show", "alice")
    assert (user["name"], user["disabled"], user["groups"]) == ("alice", False, ["dev"])
    assert [grant["subject"] for grant in user["grants"]] == ["group:dev"]
    assert [listed_key["comment"] for listed_key in user["keys"]] == ["laptop"]
    assert [(listed_token["id"], listed_token["scopes"]) for listed_token in user["tokens"]] == [
        (token.id, ["connect:app01"])
    ]
    assert (user["sign_ins"], user["sessions"], user["persons"]) == ([], [], [])
    alice.out("user", "disable", "alice")
    shown = alice.out("user", "show", "alice")
    for word in (
        "yes; stagedoor user enable alice",
        token.id,
        "group:dev",
        "laptop",
        "sign-ins: none",
    ):
        assert word in shown
    assert token.text not in shown
    with pytest.raises(NotFoundError, match="no user bob"):
        alice.out("user", "show", "bob")


def test_groups_are_joined_and_left(alice: Desk) -> None:
    assert alice.out("user", "group", "alice", "--add", "dev", "--add", "ops") == "dev\nops\n"
    assert alice.out("user", "group", "alice", "--remove", "dev") == "ops\n"
    assert alice.out("user", "group", "alice") == "ops\n"
    with pytest.raises(RefusedError, match="not in the group dev"):
        alice.out("user", "group", "alice", "--remove", "dev")


def test_a_removal_is_asked_about_and_a_script_must_say_yes(alice: Desk) -> None:
    with pytest.raises(click.UsageError, match=r"with 0 keys, 0 tokens, 0 grants\?.*--yes"):
        alice.out("user", "remove", "alice")
    assert len(alice.json("user", "list")) == 1


def test_a_command_that_only_looks_makes_no_store(desk: Desk) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        desk.out("user", "list")
    assert not desk.data_dir.exists()


ASK = """
import sys
from stagedoor.cli.ask import ask_new_password
print(len(ask_new_password("alice", from_stdin=False)))
"""


def test_at_a_terminal_the_password_is_typed_twice_and_never_shown() -> None:
    with console([sys.executable, "-c", ASK]) as one:
        for prompt in (b"Password for alice", b"Repeat for confirmation"):
            one.shows(prompt)
            one.type(b"correct horse\n")
        one.shows(b"13\r\n")
        assert b"correct horse" not in one.shown
