"""Passes of the web, on every kind of store: one of several who use one up at once gets it."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import select

from stagedoor.authz.decide import known
from stagedoor.model.denial import Denial
from stagedoor.model.errors import NotFoundError
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.webpass import PassKind, WebPass
from stagedoor.store import people
from stagedoor.store.database import Database
from stagedoor.store.policy import load_policy
from stagedoor.store.schema import web_passes
from stagedoor.store.sign_in import passes
from stagedoor.store.sign_in.passes import (
    find,
    issue,
    read_sign_ins_end,
    read_signed_out,
    renew,
    sign_out,
    use_up,
)

NOW = 1_700_000_000.0
TICKET = WebPass(
    PassKind.TICKET,
    "dev",
    Method.TOKEN,
    NOW + 30,
    "tok1",
    ("connect:app01", "connect:app02"),
    None,
    "app01.ssh",
)
SESSION = WebPass(PassKind.SESSION, "dev", Method.PASSWORD, NOW + 3600, password_mark=b"m" * 32)


def kept(given: WebPass, secret: str) -> WebPass:
    """As it comes back: a session says which sign-in it is."""
    if given.kind is not PassKind.SESSION:
        return given
    return replace(given, sign_in=sign_in(secret))


def sign_in(secret: str) -> SignIn:
    return SignIn(hash_of(secret), SESSION.expires_at)


def hash_of(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


@pytest.fixture(autouse=True)
def dev(database: Database) -> None:
    with database.write() as transaction:
        people.add_user(transaction, "dev", frozenset(), None, NOW)


@pytest.mark.parametrize("given", [TICKET, SESSION], ids=lambda given: given.kind)
def test_what_was_issued_is_found_by_its_secret_and_by_nothing_else(
    database: Database, given: WebPass
) -> None:
    secret = issue(database, given, NOW)
    assert len(secret) >= 43
    assert find(database, given.kind, secret) == kept(given, secret)
    assert find(database, PassKind.LINK, secret) is None
    for wrong in ("", secret[:-1], secret + "A", secret.swapcase(), "\udce4"):
        assert find(database, given.kind, wrong) is None


def test_the_secret_is_not_in_the_store(database: Database) -> None:
    secret = issue(database, TICKET, NOW)
    with database.read() as transaction:
        row = transaction.execute(select(web_passes)).one()
    assert secret not in repr(tuple(row))


def test_what_was_used_up_is_gone(database: Database) -> None:
    secret = issue(database, TICKET, NOW)
    assert use_up(database, PassKind.SESSION, secret) is None
    assert use_up(database, PassKind.TICKET, secret) == TICKET
    assert use_up(database, PassKind.TICKET, secret) is None
    assert find(database, PassKind.TICKET, secret) is None


def test_of_several_who_use_it_up_at_once_one_gets_it(database: Database) -> None:
    secret = issue(database, TICKET, NOW)
    with ThreadPoolExecutor(8) as pool:
        tickets = list(pool.map(lambda _: use_up(database, PassKind.TICKET, secret), range(8)))
    assert [ticket for ticket in tickets if ticket is not None] == [TICKET]


def test_what_has_expired_is_thrown_away_when_another_is_issued(database: Database) -> None:
    old = issue(database, TICKET, NOW)
    other = issue(database, SESSION, NOW)
    issue(database, SESSION, NOW + 31)
    assert find(database, PassKind.TICKET, old) is None
    assert find(database, PassKind.SESSION, other) == kept(SESSION, other)


def test_whoever_is_removed_takes_his_passes_along(database: Database) -> None:
    secret = issue(database, SESSION, NOW)
    with database.write() as transaction:
        people.remove_user(transaction, "dev")
    assert find(database, PassKind.SESSION, secret) is None


def test_a_ticket_is_worth_no_more_than_the_session_that_it_comes_from(database: Database) -> None:
    session, other = issue(database, SESSION, NOW), issue(database, SESSION, NOW)
    given = replace(TICKET, sign_in=sign_in(session))
    assert use_up(database, PassKind.TICKET, issue(database, given, NOW)) == given
    before, own = issue(database, given, NOW), issue(database, TICKET, NOW)
    with database.write() as transaction:
        sign_out(transaction, session, NOW)
    assert use_up(database, PassKind.TICKET, before) is None
    assert use_up(database, PassKind.TICKET, issue(database, given, NOW)) is None
    assert find(database, PassKind.SESSION, session) is None
    assert use_up(database, PassKind.TICKET, own) == TICKET
    assert find(database, PassKind.SESSION, other) == kept(SESSION, other)


def test_a_session_that_was_ended_is_told_for_as_long_as_it_would_have_lasted(
    database: Database,
) -> None:
    secret, ticket = issue(database, SESSION, NOW), issue(database, TICKET, NOW)
    with database.write() as transaction:
        sign_out(transaction, secret, NOW)
    ended = frozenset({sign_in(secret).id})
    assert load_policy(database).signed_out == ended
    for wrong in (secret, ticket, "", "\udce4"):
        with database.write() as transaction, pytest.raises(NotFoundError):
            sign_out(transaction, wrong, NOW)
    issue(database, SESSION, SESSION.expires_at - 1)
    with database.read() as transaction:
        assert read_signed_out(transaction) == ended
        assert read_sign_ins_end(transaction) == {}
    issue(database, SESSION, SESSION.expires_at)
    assert not load_policy(database).signed_out


def test_use_moves_the_end_of_a_session_and_all_that_it_opened_hears_of_it(
    database: Database,
) -> None:
    given = replace(SESSION, latest_end=SESSION.expires_at + 100)
    secret, still = issue(database, given, NOW), issue(database, given, NOW)
    end = SESSION.expires_at + 100
    with database.write() as transaction:
        renew(transaction, secret, end, NOW + 60)
    assert find(database, PassKind.SESSION, secret) == replace(
        given, expires_at=end, sign_in=SignIn(hash_of(secret), end)
    )
    policy = load_policy(database)
    assert policy.sign_in_ends == {hash_of(secret): end}
    assert policy.why_sign_in_over("dev", sign_in(secret), end - 1) is None
    assert policy.why_sign_in_over("dev", sign_in(still), end - 1) is not None


@pytest.mark.parametrize("ended", ["signed out", "expired", "too far", "of the version before"])
def test_what_is_over_or_would_last_too_long_is_not_moved(database: Database, ended: str) -> None:
    latest = None if ended == "of the version before" else SESSION.expires_at + 100
    secret = issue(database, replace(SESSION, latest_end=latest), NOW)
    with database.write() as transaction:
        if ended == "signed out":
            sign_out(transaction, secret, NOW)
        now = SESSION.expires_at + 1 if ended == "expired" else NOW
        end = SESSION.expires_at + (101 if ended == "too far" else 99)
        with pytest.raises(NotFoundError):
            renew(transaction, secret, end, now)


def test_a_session_whose_time_is_over_cannot_be_ended_any_more(database: Database) -> None:
    secret = issue(database, SESSION, NOW)
    with database.write() as transaction, pytest.raises(NotFoundError):
        sign_out(transaction, secret, SESSION.expires_at)


def test_a_sign_out_holds_however_many_later_sign_ins_were_ended_before_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older ones of many that were ended are not kept singly; they are over all the same."""
    monkeypatch.setattr(passes, "MOST_SIGNED_OUT", 3)
    with database.write() as transaction:
        people.add_user(transaction, "other", frozenset(), None, NOW)
    secrets = [
        issue(database, replace(SESSION, expires_at=SESSION.expires_at + number), NOW)
        for number in range(10)
    ]
    theirs = issue(database, replace(SESSION, name="other"), NOW)
    for secret in (*secrets[3:8], secrets[0]):
        with database.write() as transaction:
            sign_out(transaction, secret, NOW)
    policy = load_policy(database)

    def over(name: str, number: int, secret: str) -> bool:
        """Return whether a terminal that it opened has to close."""
        sign_in = SignIn(hash_of(secret), SESSION.expires_at + number)
        identity = Identity(name, frozenset(), Method.CERTIFICATE, sign_in=sign_in)
        return isinstance(known(policy, identity, NOW), Denial)

    assert [over("dev", number, secret) for number, secret in enumerate(secrets)] == (
        [True] * 8 + [False] * 2
    )
    assert not over("other", 0, theirs)
    issue(database, SESSION, SESSION.expires_at + 4)  # throws away what is over by itself
    policy = load_policy(database)
    assert not over("dev", 8, secrets[8])


def test_who_signs_out_again_and_again_fills_nobodys_memory(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "MOST_SIGNED_OUT", 3)
    with database.write() as transaction:
        people.add_user(transaction, "other", frozenset(), None, NOW)
    secrets = []
    for name in ("other", *["dev"] * 5):
        later = SESSION.expires_at + len(secrets)
        secrets.append(issue(database, replace(SESSION, name=name, expires_at=later), NOW))
        with database.write() as transaction:
            sign_out(transaction, secrets[-1], NOW)
    kept_ones = (secrets[0], *secrets[-4:])
    assert load_policy(database).signed_out == {sign_in(secret).id for secret in kept_ones}
