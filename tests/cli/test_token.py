import hashlib
import time

import click
import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.service import AdminService
from stagedoor.authn.decide import judge_credential
from stagedoor.model.credential import PasswordCredential, TokenCredential
from stagedoor.model.denial import Denial
from stagedoor.model.errors import NotFoundError, RefusedError
from stagedoor.model.identity import Identity
from tests.cli.conftest import Desk


def test_a_token_is_shown_once_and_only_its_hash_is_kept(
    alice: Desk, service: AdminService
) -> None:
    text = alice.out("token", "create", "alice").strip()
    (record,) = admin.read_policy(service).tokens.values()
    assert record.secret_hash == hashlib.sha256(text.encode()).digest()
    everything = b"".join(f.read_bytes() for f in alice.data_dir.glob("stagedoor.db*"))
    assert text.split("_", 2)[2].encode() not in everything
    for argv in (("token", "list"), ("token", "list", "--json"), ("audit",), ("audit", "--json")):
        assert text not in alice.out(*argv)


def test_a_token_gets_its_owner_in_and_nobody_else(alice: Desk, service: AdminService) -> None:
    text = alice.out("token", "create", "alice").strip()
    policy = admin.read_policy(service)
    now = time.time()
    assert isinstance(judge_credential(policy, TokenCredential(text), now), Identity)
    assert isinstance(judge_credential(policy, PasswordCredential("alice", text), now), Identity)
    assert isinstance(judge_credential(policy, PasswordCredential("bob", text), now), Denial)
    assert isinstance(judge_credential(policy, TokenCredential(text), now + 31 * 86400), Denial)


def test_a_revoked_token_is_gone(alice: Desk, service: AdminService) -> None:
    made = alice.json("token", "create", "alice", "--expires", "8h", "--scope", "connect:app*")
    assert [row["id"] for row in alice.json("token", "list", "alice")] == [made["id"]]
    assert made["scopes"] == ["connect:app*"]
    alice.out("token", "revoke", made["id"])
    assert admin.read_policy(service).tokens == {}
    with pytest.raises(NotFoundError):
        alice.out("token", "revoke", made["id"])


def test_the_whole_token_can_be_given_to_revoke_it_and_is_not_written_down(
    alice: Desk, service: AdminService
) -> None:
    text = alice.out("token", "create", "alice").strip()
    alice.out("token", "revoke", text)
    assert admin.read_policy(service).tokens == {}
    assert text not in alice.out("audit", "--json")


@pytest.mark.parametrize(
    "scope",
    ["", "admin", "connect:", "connect:App", "connect:a.b.c", "connect:a b", "connect:*.", "con*"],
)
def test_a_scope_that_would_mean_nothing_is_refused(alice: Desk, scope: str) -> None:
    with pytest.raises(RefusedError, match="is not a scope"):
        alice.out("token", "create", "alice", "--scope", scope)


@pytest.mark.parametrize("scope", ["connect", "connect:app01", "connect:app*.staging"])
def test_scopes_are_taken_as_documented(alice: Desk, scope: str) -> None:
    assert alice.json("token", "create", "alice", "--scope", scope)["scopes"] == [scope]


def test_a_token_for_the_past_is_refused(alice: Desk) -> None:
    with pytest.raises(RefusedError, match="end before it begins"):
        alice.out("token", "create", "alice", "--expires", "2020-01-01")
    with pytest.raises(click.BadParameter, match="is not a time: write 8h"):
        alice.out("token", "create", "alice", "--expires", "soon")


def test_a_token_without_an_end_must_be_asked_for(alice: Desk) -> None:
    assert alice.json("token", "create", "alice")["expires_at"] is not None
    assert alice.json("token", "create", "alice", "--expires", "never")["expires_at"] is None
