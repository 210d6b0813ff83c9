"""Settings of before grants had permissions: each warning has a command that grants the same, and no more."""

import shlex

import pytest

from stagedoor.admin import service as admin
from stagedoor.authz.decide import authorise
from stagedoor.authz.replay import may_replay
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity, Method
from stagedoor.model.permission import Permission, Permissions
from stagedoor.model.policy import Policy
from stagedoor.model.target import Target
from stagedoor.settings.file import parse_settings
from stagedoor.settings.listed import listed_in, warnings_of
from stagedoor.settings.settings import Settings
from tests.cli.conftest import Desk

TARGETS = (Target("app01"), Target("app01", "staging"), Target("app02", "production"))


def settings(text: str) -> Settings:
    return parse_settings(text, "test.toml")


def matrix(policy: Policy, of: Settings) -> dict[tuple[str, str], Permissions | None]:
    """What each user may do with each app; None where they may not enter."""
    found: dict[tuple[str, str], Permissions | None] = {}
    for name, user in policy.users.items():
        identity = Identity(name, user.groups, Method.PASSWORD, password_hash=user.password_hash)
        for target in TARGETS:
            verdict = authorise(policy, identity, target, 0.0, listed_in(of))
            plays = may_replay(policy, identity, target, 0.0, listed_in(of))
            permissions = verdict.permissions if isinstance(verdict, Grant) else None
            assert plays == (Permission.REPLAY in (permissions or ())) or permissions is None
            found[name, str(target)] = permissions
            found[name, f"play {target}"] = frozenset({Permission.REPLAY}) if plays else None
    return found


@pytest.mark.parametrize(
    "text",
    [
        '[ssh]\nlocal_forward = ["*"]',
        '[ssh]\nlocal_forward = ["app0*", "group:crew"]\nagent_forward = ["user:alice"]',
        '[ssh]\nagent_forward = ["*.staging"]',
        '[recording]\nsessions = ["app01.staging", "user:bob"]',
        '[recording]\nviewers = ["user:bob", "group:crew app01.staging", "user:alice app*"]',
        '[ssh]\nlocal_forward = ["grant:1"]',
    ],
)
def test_the_command_of_each_warning_does_what_the_setting_did(alice: Desk, text: str) -> None:
    alice.out("user", "add", "bob", "--no-password", "--group", "crew")
    alice.out("user", "add", "cid", "--no-password")
    alice.out("grant", "add", "user:alice", "app0*")
    alice.out(
        "grant", "add", "group:crew", "app01", "--allow", "forward", "--environment", "staging"
    )
    with admin.open_service(alice.data_dir) as service:
        before = matrix(admin.policy(service), settings(text))
        assert before != matrix(admin.policy(service), Settings())
        warnings = warnings_of(settings(text))
        for line in warnings:
            assert "is read for one version more" in line
            words = shlex.split(line.partition("instead run: ")[2])
            assert words[0] == "stagedoor"
            alice.out(*words[1:])
        assert matrix(admin.policy(service), Settings()) == before


def test_web_files_says_how_the_grants_say_it(alice: Desk) -> None:
    (line,) = warnings_of(settings('[web]\nfiles = ["app01"]'))
    assert "stagedoor grant change ID --without files" in line
    assert "stagedoor grant add everybody app01 --allow files --without enter" in line
    (line,) = warnings_of(settings('[web]\nfiles = ["*"]'))
    assert "take it out of the settings" in line
    assert warnings_of(Settings()) == ()


def test_a_pattern_of_names_has_no_grant_of_its_own_and_is_told_so() -> None:
    (line,) = warnings_of(settings('[ssh]\nlocal_forward = ["user:al*"]'))
    assert "once for each user that 'al*' matches" in line
