"""`stagedoor sign-in`: who is signed in on the web, and out with them."""

import json
import time
from dataclasses import replace

import click
import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.service import AdminService
from stagedoor.api.views import show_sign_in
from stagedoor.cli.complete import sign_in_ids
from stagedoor.cli.sign_in import make_row
from stagedoor.model.errors import NotFoundError, RefusedError
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.webpass import ProviderAnswer, WebSession
from stagedoor.store.sign_in.sign_ins import SignInRecord
from tests.cli.conftest import Desk
from tests.fixtures.people import open_session


def signed_in(service: AdminService, method: Method = Method.PASSWORD) -> SignIn:
    now = time.time()
    sso = method is Method.SSO
    identity = Identity("alice", frozenset(), method, "Company" if sso else None)
    answer = ProviderAnswer("Company", "https://id.example", "1", "s", now, now, "sealed", now)
    _, session = open_session(
        service.database, identity, now, source="192.0.2.1", answer=answer if sso else None
    )
    return session.sign_in


def test_sign_ins_are_listed_and_one_is_ended_with_its_reason(
    alice: Desk, service: AdminService
) -> None:
    by_provider, by_password = signed_in(service, Method.SSO), signed_in(service)
    first, second = alice.json("sign-in", "list", "--user", "alice")
    assert (first["method"], first["credential"], first["source"]) == (
        "sso",
        "Company",
        "192.0.2.1",
    )
    assert first["used_at"] == first["opened_at"] is not None
    assert first["answered_at"] is not None
    assert second["answered_at"] is None
    assert alice.json("sign-in", "list", "--user", "bob") == []
    head, row, _ = alice.out("sign-in", "list").splitlines()
    assert head.split() == ["ID", "USER", "BY", "ON", "FROM", "SINCE", "USED", "ENDS", "ANSWERED"]
    assert row.split()[:6] == [first["id"], "alice", "sso", "Company", "browser", "192.0.2.1"]

    alice.out("sign-in", "end", first["id"][:8], "--reason", "laptop stolen")
    policy = admin.read_policy(service)
    now = time.time()
    assert policy.explain_sign_in_end("alice", by_provider, now) == "laptop stolen; sign in again"
    assert policy.explain_sign_in_end("alice", by_password, now) is None
    events = [json.loads(line) for line in alice.out("audit", "--json").splitlines()]
    [ending] = [event for event in events if event["fields"].get("action") == "sign-in.end"]
    assert ending["fields"]["sign_in"] == first["id"]
    assert ending["fields"]["why"] == "laptop stolen"

    alice.out("sign-in", "end", "--user", "alice", "--yes")
    assert alice.json("sign-in", "list") == []
    assert admin.read_policy(service).explain_sign_in_end("alice", by_password, now) is not None


def test_what_names_no_sign_in_ends_none(alice: Desk, service: AdminService) -> None:
    signed_in(service)
    for words in ((), ("5f3a91", "--user", "alice"), ("--user", "alice", "--reason", "a\nb")):
        with pytest.raises(click.UsageError):
            alice.out("sign-in", "end", *words)
    with pytest.raises(NotFoundError, match="sign-in list"):
        alice.out("sign-in", "end", "zzzzzz")
    for short in ("", "5f3a9"):
        with pytest.raises(RefusedError, match="too short"):
            alice.out("sign-in", "end", short)
    assert len(alice.json("sign-in", "list")) == 1


def test_the_start_of_more_than_one_id_ends_none(
    alice: Desk, service: AdminService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One letter is enough here, so that two of 17 begin alike."""
    monkeypatch.setattr("stagedoor.admin.sessions.MIN_PREFIX", 1)
    for _ in range(17):
        signed_in(service)
    ids = [listed["id"] for listed in alice.json("sign-in", "list")]
    twice = next(id_[0] for id_ in ids if sum(other[0] == id_[0] for other in ids) > 1)
    with pytest.raises(RefusedError, match="write more of the id"):
        alice.out("sign-in", "end", twice)
    assert len(alice.json("sign-in", "list")) == 17


def test_ids_are_completed(alice: Desk, service: AdminService) -> None:
    id_ = signed_in(service).id.hex()[:12]
    root = click.Context(click.Command("stagedoor"))
    root.params["settings_file"] = str(alice.settings_file)
    offered = sign_in_ids(root, click.Argument(["ids"]), id_[:3])
    assert [(completion.value, completion.help) for completion in offered] == [
        (id_, "alice 192.0.2.1")
    ]


def test_a_list_shows_what_the_provider_answered_since_it_confirmed() -> None:
    session = WebSession(
        id=bytes(32),
        name="alice",
        method=Method.SSO,
        credential_id="Company",
        expires_at=9.0,
        latest_end=9.0,
        opened_at=1.0,
        answered_at=2.0,
    )
    record = SignInRecord(session)
    confirmed = make_row(show_sign_in(record))["answered"]
    refused = replace(record, failure="400, invalid_request", failed_at=3.0)
    answered = make_row(show_sign_in(refused))["answered"]
    assert answered.startswith(f"{confirmed}; ")
    assert answered.endswith(": 400, invalid_request")
    assert show_sign_in(refused).failed_at == "1970-01-01T00:00:03.000Z"
