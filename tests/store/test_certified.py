"""Which certificates are revoked, on every kind of store."""

import pytest

from stagedoor.authn.passes import Lifetimes, pass_for
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.webpass import PassKind
from stagedoor.store import people
from stagedoor.store.database import Database
from stagedoor.store.sign_in import certified, passes
from stagedoor.store.sign_in.logins import open_login
from tests.store.sample import change

NOW = 1_700_000_000.0


def log_in(database: Database, key: str) -> SignIn:
    carol = Identity("carol", frozenset(), Method.SSO, "Company")
    given = pass_for(PassKind.SESSION, carol, NOW, Lifetimes())
    browser = passes.find(database, PassKind.SESSION, passes.issue(database, given, NOW))
    assert browser is not None
    assert browser.sign_in is not None
    with change(database, "login") as made:
        _, login = open_login(
            made.transaction,
            browser.sign_in.id,
            key_fingerprint=key,
            public_key="ssh-ed25519 AAAA",
            label="laptop",
            source="192.0.2.7",
            session_s=3600.0,
            now=NOW,
        )
    assert login.sign_in is not None
    return login.sign_in


@pytest.mark.identity(23)
def test_those_whose_sign_in_is_over_until_they_expire(database: Database) -> None:
    with database.write() as transaction:
        people.add_user(transaction, "carol", frozenset(), None, NOW)
    one, two = log_in(database, "SHA256:one"), log_in(database, "SHA256:two")
    highest = 2**63 - 1  # a sign-in that is not even remembered
    with database.write() as transaction:
        for number, end in (
            (one.number, NOW + 60),
            (one.number, NOW + 600),
            (one.number, NOW + 300),
            (two.number, NOW + 600),
            (highest, NOW + 10),
        ):
            certified.keep(transaction, number, end, NOW)
    assert certified.revoked(database, NOW) == [highest]
    assert certified.revoked(database, NOW + 10) == []
    assert certified.revoked(database, NOW + 10, {"SHA256:two"}) == [two.number]
    with change(database, "end") as made:
        passes.end(made.transaction, one.id, "laptop stolen", NOW)
    assert certified.revoked(database, NOW + 599) == [one.number]
    assert certified.revoked(database, NOW + 600) == []
