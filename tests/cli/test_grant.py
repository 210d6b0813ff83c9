import time
from dataclasses import replace

import click
import pytest

from stagedoor.admin.service import add_grant, open_service
from stagedoor.model.errors import ConflictError, NotFoundError, RefusedError
from stagedoor.settings.file import load_settings
from tests.cli.conftest import Desk


def test_a_grant_is_given_listed_and_taken_away(alice: Desk) -> None:
    alice.out("grant", "add", "user:alice", "app*", "--environment", "staging")
    alice.out("grant", "add", "group:dev", "app01", "--expires", "8h")
    first, second = alice.json("grant", "list")
    assert first == {
        "id": 1,
        "subject": "user:alice",
        "permissions": ["enter", "files"],
        "app": "app*",
        "environment": "staging",
        "expires_at": None,
        "resume_s": None,
        "access_set": None,
    }
    assert second["expires_at"].endswith("Z")
    assert "never" in alice.out("grant", "list")
    alice.out("grant", "remove", "1")
    assert [row["id"] for row in alice.json("grant", "list")] == [2]
    with pytest.raises(NotFoundError, match="no grant 1"):
        alice.out("grant", "remove", "1")


def test_a_grant_that_covers_several_environments_says_so_unless_it_was_asked_for(
    alice: Desk,
) -> None:
    with alice.settings_file.open("a") as file:
        for environment in ("", 'environment = "staging"', 'environment = "live"'):
            file.write(f'[[shells.static]]\napp = "app01"\nhost = "192.0.2.1"\n{environment}\n')
    said = "It covers every environment (apps without one, live, staging); narrow it with"
    assert said in alice.run("grant", "add", "user:alice", "app*").stderr
    for given in ("staging", "*"):
        done = alice.run("grant", "add", "user:alice", "app0*", "--environment", given)
        assert "covers every" not in done.stderr


def test_of_many_environments_a_grant_names_the_first(alice: Desk) -> None:
    spaces = ", ".join(f'team-{number:04} = "team-{number:04}"' for number in range(1000))
    with alice.settings_file.open("a") as file:
        file.write(f"[kubernetes]\nnamespaces = {{ {spaces} }}\n")
    said = "(team-0000, team-0001, team-0002, team-0003, team-0004 and 995 more); narrow it"
    assert said in alice.run("grant", "add", "user:alice", "app*").stderr


def test_a_grant_for_an_empty_group_is_remarked_on(alice: Desk) -> None:
    result = alice.run("grant", "add", "group:dev", "app01")
    assert "The group dev has no members yet" in result.stderr


@pytest.mark.parametrize("subject", ["alice", "role:alice", "user:", "user:*", "group:Dev", ":x"])
def test_a_subject_that_names_nobody_is_refused(alice: Desk, subject: str) -> None:
    with pytest.raises(RefusedError):
        alice.out("grant", "add", subject, "app01")


@pytest.mark.parametrize(
    "pattern", ["", "App", "app01.staging", "a b", "[", "app[", "a/b", "\u0661"]
)
def test_a_pattern_that_could_match_nothing_is_refused(alice: Desk, pattern: str) -> None:
    with pytest.raises(RefusedError, match="not a pattern for an app"):
        alice.out("grant", "add", "user:alice", pattern)
    with pytest.raises(RefusedError, match="not a pattern for an environment"):
        alice.out("grant", "add", "user:alice", "app01", "--environment", pattern)


def test_grants_are_listed_by_app_environment_and_user(alice: Desk) -> None:
    """The question is who reaches app017; 500 lines came out."""
    alice.out("user", "group", "alice", "--add", "dev")
    for words in (
        ("user:alice", "app017"),
        ("group:dev", "app*", "--environment", "staging"),
        ("group:ops", "app018"),
        ("everybody", "*", "--allow", "record", "--without", "enter"),
    ):
        alice.out("grant", "add", *words)

    def listed(*words: str) -> list[int]:
        return [row["id"] for row in alice.json("grant", "list", *words)]

    assert listed("--app", "app017") == [1, 2, 4]
    assert listed("--app", "app017", "--environment", "live") == [1, 4]
    assert listed("--app", "app018") == [2, 3, 4]
    assert listed("--user", "alice") == [1, 2, 4]
    assert listed("--user", "alice", "--app", "app018") == [2, 4]
    assert listed("--app", "nothing") == [4]
    with pytest.raises(NotFoundError):
        alice.out("grant", "list", "--user", "stranger")


def test_the_same_grant_is_not_given_twice(alice: Desk) -> None:
    alice.out("grant", "add", "user:alice", "app01")
    with pytest.raises(ConflictError, match="grant 1 says this already"):
        alice.out("grant", "add", "user:alice", "app01", "--expires", "8h")


def test_a_grant_that_is_over_is_replaced(alice: Desk) -> None:
    """The command that a refusal names failed: the grant said the same already."""
    alice.out("grant", "add", "user:alice", "app01", "--expires", "1m")
    with open_service(load_settings(alice.settings_file)) as service:
        later = replace(service, clock=lambda: time.time() + 120)
        with pytest.raises(ConflictError, match="add it with --expires"):
            add_grant(service, "user:alice", "app01")
        assert add_grant(later, "user:alice", "app01").id == 2
    [row] = alice.json("grant", "list")
    assert (row["id"], row["expires_at"]) == (2, None)


def test_a_grant_is_prolonged_by_expires_and_by_nothing_else(alice: Desk) -> None:
    def ends() -> str:
        [row] = alice.json("grant", "list")
        return str(row["expires_at"])

    alice.out("grant", "add", "user:alice", "app01", "--expires", "1h")
    first = ends()
    for refused in ((), ("--expires", "30m"), ("--expires", "8h", "--allow", "forward")):
        with pytest.raises(ConflictError, match="grant 1 says this already"):
            alice.out("grant", "add", "user:alice", "app01", *refused)
    assert ends() == first
    assert alice.json("grant", "add", "user:alice", "app01", "--expires", "8h")["id"] == 1
    assert ends() > first
    alice.out("grant", "add", "user:alice", "app01", "--expires", "never")
    assert ends() == "None"
    with pytest.raises(ConflictError):
        alice.out("grant", "add", "user:alice", "app01", "--expires", "8h")


def test_a_grant_to_watch_is_told_from_one_to_enter(alice: Desk) -> None:
    alice.out("grant", "add", "user:alice", "app01")
    watch = ("user:alice", "app01", "--allow", "watch", "--without", "enter")
    added = alice.json("grant", "add", *watch)
    assert (added["id"], added["permissions"]) == (2, ["watch"])
    assert [(row["id"], row["permissions"]) for row in alice.json("grant", "list")] == [
        (1, ["enter", "files"]),
        (2, ["watch"]),
    ]
    with pytest.raises(ConflictError, match="grant 2 says this already"):
        alice.out("grant", "add", *watch)
    alice.out("grant", "remove", "2")
    assert [row["id"] for row in alice.json("grant", "list")] == [1]
    with pytest.raises(NotFoundError, match="no grant 2"):
        alice.out("grant", "remove", "2")


def test_a_grant_permits_what_it_says(alice: Desk) -> None:
    everything = "watch,forward,agent,files,record,replay,run"
    added = alice.json("grant", "add", "user:alice", "app01", "--allow", everything)
    assert added["permissions"] == [
        "enter", "files", "run", "forward", "agent", "watch", "record", "replay",
    ]  # fmt: skip
    added = alice.json("grant", "add", "everybody", "*", "--without", "files", "--expires", "8h")
    assert (added["subject"], added["permissions"]) == ("everybody", ["enter"])
    assert "enter, files, run, forward, agent, watch" in alice.out("grant", "list")


def test_a_change_without_resume_keeps_the_limit_and_its_help_names_no_default(alice: Desk) -> None:
    alice.out("grant", "add", "user:alice", "app01", "--resume", "15m")
    assert alice.json("grant", "change", "1", "--allow", "agent")["resume_s"] == 900
    assert alice.json("grant", "change", "1", "--resume", "default")["resume_s"] is None
    assert "[default:" not in alice.out("grant", "change", "--help")


def test_the_notes_on_a_grant_say_what_it_permits(alice: Desk) -> None:
    said = "user:alice has enter, files for app01 in *, with no expiry."
    assert said in alice.notes("grant", "add", "user:alice", "app01")
    said = "Removed grant 1: user:alice had enter, files for app01 in *."
    assert said in alice.notes("grant", "remove", "1")


def test_what_a_grant_permits_is_changed_but_not_whether_it_lets_in(alice: Desk) -> None:
    alice.out("grant", "add", "user:alice", "app01", "--allow", "forward,agent")
    changed = alice.json("grant", "change", "1", "--allow", "record", "--without", "agent,files")
    assert changed["permissions"] == ["enter", "forward", "record"]
    assert alice.json("grant", "list") == [changed]
    for option in ("--allow", "--without"):
        with pytest.raises(RefusedError, match="stagedoor grant remove 1"):
            alice.out("grant", "change", "1", option, "enter")
    with pytest.raises(RefusedError, match="both allowed and taken away"):
        alice.out("grant", "change", "1", "--allow", "agent", "--without", "agent")
    with pytest.raises(NotFoundError, match="no grant 7"):
        alice.out("grant", "change", "7", "--allow", "agent")
    with pytest.raises(click.UsageError, match="give what to change"):
        alice.out("grant", "change", "1")
    alice.out("grant", "add", "user:alice", "*", "--allow", "watch", "--without", "enter")
    with pytest.raises(RefusedError, match="would permit nothing"):
        alice.out("grant", "change", "2", "--without", "watch")
    assert alice.json("grant", "list")[1]["permissions"] == ["watch"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--allow", "fly"), "'fly' is not a permission; there are: enter, files"),
        (("--allow", ""), "'' is not a permission"),
        (("--allow", "Forward"), "is not a permission"),
        (("--without", "enter"), "would permit nothing"),
        (("--without", "enter,files"), "would permit nothing"),
        (("--without", "forward"), "no grant permits that unless it is allowed"),
        (("--allow", "enter", "--without", "enter"), "both allowed and taken away"),
    ],
)
def test_a_permission_that_is_none_is_refused(
    alice: Desk, options: tuple[str, ...], said: str
) -> None:
    with pytest.raises(click.UsageError, match=said):
        alice.out("grant", "add", "user:alice", "app01", *options)


@pytest.mark.parametrize("wrong", ["", "w", "w1", "x1", "ww1", "1w", "-", "\u0661", "9" * 40])
def test_what_is_no_grants_id_is_said(alice: Desk, wrong: str) -> None:
    with pytest.raises(click.UsageError, match="is not a grant's ID"):
        alice.out("grant", "remove", "--", wrong)


def test_an_app_that_nobody_knows_is_told_of(alice: Desk) -> None:
    with alice.settings_file.open("a") as settings:
        settings.write('[[shells.static]]\napp = "app01"\nenvironment = "prod"\nhost = "h"\n')
    message = alice.run("grant", "add", "user:alice", "ap01").stderr
    assert "no app is called ap01 now" in message
    assert "Did you mean app01?" in message
    message = alice.run("grant", "add", "user:alice", "app01", "--environment", "test").stderr
    assert "no app is called app01 in test now" in message
    for app, environment in (("app01", "*"), ("app*", "pro*"), ("*", "*")):
        argv = ("grant", "add", "user:alice", app, "--environment", environment)
        result = alice.run(*argv)
        assert result.exception is None
        assert "no app is known" not in result.stderr
