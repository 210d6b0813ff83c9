"""Passes of the web, on every kind of store: one of several who use one up at once gets it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import pytest
from sqlalchemy import select, update

from stagedoor.model.denial import Denial
from stagedoor.model.errors import NotFoundError
from stagedoor.model.grant import SharedTerminal
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.secret import hash_secret
from stagedoor.model.target import Target
from stagedoor.model.webpass import (
    Invitation,
    KeyLogin,
    SignInLink,
    Ticket,
    WatchedSession,
    WebPass,
    WebSession,
)
from stagedoor.store import people
from stagedoor.store.database import Database
from stagedoor.store.policy import load_policy
from stagedoor.store.sign_in import passes
from stagedoor.store.sign_in.passes import (
    end_sign_in,
    extend_sign_in,
    find,
    make_secret,
    read_sign_ins_end,
    read_signed_out,
    use_up,
)
from stagedoor.store.sign_in.sign_ins import search_sign_ins
from stagedoor.store.sign_in.tables import web_passes

NOW = 1_700_000_000.0
Given = TypeVar("Given", bound=WebPass)
TICKET = Ticket(
    id=b"",
    name="dev",
    method=Method.TOKEN,
    expires_at=NOW + 30,
    credential_id="tok1",
    scopes=("connect:app01", "connect:app02"),
    purpose=Target("app01"),
)
SESSION = WebSession(
    id=b"",
    name="dev",
    method=Method.PASSWORD,
    expires_at=NOW + 3600,
    latest_end=NOW + 3700,
    password_mark=b"m" * 32,
)
LOGIN = KeyLogin(
    id=b"",
    name="dev",
    method=Method.SSO,
    credential_id="Company",
    expires_at=NOW + 3600,
    latest_end=NOW + 7200,
    opened_at=NOW,
    source="192.0.2.1",
    label="laptop",
    key_fingerprint="SHA256:abc",
    public_key="ssh-ed25519 AAAA",
)
LINK = SignInLink(id=b"", name="dev", method=Method.PASSWORD, expires_at=NOW + 600)
INVITATION = Invitation(id=b"", name="dev", method=Method.PASSWORD, expires_at=NOW + 900)
WATCHING = replace(TICKET, purpose=WatchedSession("s1"))
SHARED = replace(TICKET, purpose=SharedTerminal("0a1b2c3d4e5f"))
EVERY = [SESSION, LOGIN, TICKET, WATCHING, SHARED, LINK, INVITATION]


def issue(database: Database, given: WebPass, now: float) -> str:
    """Store the pass under a new secret, and return the secret."""
    secret = make_secret()
    passes.issue(database, kept(given, secret), now)
    return secret


def kept(given: Given, secret: str) -> Given:
    """As it comes back."""
    return replace(given, id=hash_secret(secret))


def sign_in(secret: str) -> SignIn:
    return SignIn(hash_secret(secret), SESSION.expires_at)


def sign_out(database: Database, secret: str, now: float = NOW) -> None:
    with database.write() as transaction:
        end_sign_in(transaction, hash_secret(secret), None, now)


@pytest.fixture(autouse=True)
def dev(database: Database) -> None:
    with database.write() as transaction:
        people.add_user(transaction, "dev", frozenset(), None, NOW)


@pytest.mark.parametrize("given", EVERY, ids=lambda given: type(given).__name__)
def test_what_was_issued_is_found_by_its_secret_and_by_nothing_else(
    database: Database, given: WebPass
) -> None:
    secret = issue(database, given, NOW)
    assert len(secret) >= 43
    for kind in {type(other) for other in EVERY}:
        expected = kept(given, secret) if kind is type(given) else None
        assert find(database, kind, secret) == expected
    for wrong in ("", secret[:-1], secret + "A", secret.swapcase(), "\udce4"):
        assert find(database, type(given), wrong) is None


@pytest.mark.parametrize("text", [None, "", "192.0.2.1", "no app"])
def test_a_ticket_for_what_is_not_known_is_none(database: Database, text: str | None) -> None:
    secret = issue(database, TICKET, NOW)
    with database.write() as transaction:
        transaction.execute(update(web_passes).values(target=text))
    assert use_up(database, Ticket, secret) is None


def test_the_secret_is_not_in_the_store(database: Database) -> None:
    secret = issue(database, TICKET, NOW)
    with database.read() as transaction:
        row = transaction.execute(select(web_passes)).one()
    assert secret not in repr(tuple(row))


def test_what_was_used_up_is_gone(database: Database) -> None:
    secret = issue(database, TICKET, NOW)
    assert use_up(database, WebSession, secret) is None
    assert use_up(database, Ticket, secret) == kept(TICKET, secret)
    assert use_up(database, Ticket, secret) is None
    assert find(database, Ticket, secret) is None


def test_of_several_who_use_it_up_at_once_one_gets_it(database: Database) -> None:
    secret = issue(database, TICKET, NOW)
    with ThreadPoolExecutor(8) as pool:
        tickets = list(pool.map(lambda _: use_up(database, Ticket, secret), range(8)))
    assert [ticket for ticket in tickets if ticket is not None] == [kept(TICKET, secret)]


def test_what_has_expired_is_thrown_away_when_another_is_issued(database: Database) -> None:
    old = issue(database, TICKET, NOW)
    other = issue(database, SESSION, NOW)
    issue(database, SESSION, NOW + 31)
    assert find(database, Ticket, old) is None
    assert find(database, WebSession, other) == kept(SESSION, other)


def test_whoever_is_removed_takes_his_passes_along(database: Database) -> None:
    secret = issue(database, SESSION, NOW)
    with database.write() as transaction:
        people.remove_user(transaction, "dev")
    assert find(database, WebSession, secret) is None


def test_a_ticket_is_worth_no_more_than_the_session_that_it_comes_from(database: Database) -> None:
    session, other = issue(database, SESSION, NOW), issue(database, SESSION, NOW)
    given = replace(TICKET, opened_by=sign_in(session))
    first = issue(database, given, NOW)
    assert use_up(database, Ticket, first) == kept(given, first)
    before, own = issue(database, given, NOW), issue(database, TICKET, NOW)
    sign_out(database, session)
    assert use_up(database, Ticket, before) is None
    assert use_up(database, Ticket, issue(database, given, NOW)) is None
    assert find(database, WebSession, session) is None
    assert use_up(database, Ticket, own) == kept(TICKET, own)
    assert find(database, WebSession, other) == kept(SESSION, other)


def test_a_session_that_was_ended_is_told_for_as_long_as_it_would_have_lasted(
    database: Database,
) -> None:
    secret, ticket = issue(database, SESSION, NOW), issue(database, TICKET, NOW)
    sign_out(database, secret)
    ended = {sign_in(secret).id: None}
    assert load_policy(database).signed_out == ended
    for wrong in (secret, ticket, "", "\udce4"):
        with pytest.raises(NotFoundError):
            sign_out(database, wrong)
    issue(database, SESSION, SESSION.expires_at - 1)
    with database.read() as transaction:
        assert read_signed_out(transaction) == ended
        assert read_sign_ins_end(transaction) == {}
    issue(database, SESSION, SESSION.expires_at)
    assert not load_policy(database).signed_out


def test_use_moves_the_end_of_a_session_and_all_that_it_opened_hears_of_it(
    database: Database,
) -> None:
    secret, still = issue(database, SESSION, NOW), issue(database, SESSION, NOW)
    end = SESSION.expires_at + 100
    with database.write() as transaction:
        extend_sign_in(transaction, hash_secret(secret), end, NOW + 60)
    moved = replace(SESSION, expires_at=end, used_at=NOW + 60)
    assert find(database, WebSession, secret) == kept(moved, secret)
    policy = load_policy(database)
    assert policy.sign_in_ends == {hash_secret(secret): end}
    assert policy.explain_sign_in_end("dev", sign_in(secret), end - 1) is None
    assert policy.explain_sign_in_end("dev", sign_in(still), end - 1) is not None


@pytest.mark.parametrize("ended", ["signed out", "expired", "too far"])
def test_what_is_over_or_would_last_too_long_is_not_moved(database: Database, ended: str) -> None:
    secret = issue(database, SESSION, NOW)
    if ended == "signed out":
        sign_out(database, secret)
    with database.write() as transaction:
        now = SESSION.expires_at + 1 if ended == "expired" else NOW
        end = SESSION.expires_at + (101 if ended == "too far" else 99)
        with pytest.raises(NotFoundError):
            extend_sign_in(transaction, hash_secret(secret), end, now)


def test_a_session_whose_time_is_over_cannot_be_ended_any_more(database: Database) -> None:
    secret = issue(database, SESSION, NOW)
    with pytest.raises(NotFoundError):
        sign_out(database, secret, SESSION.expires_at)


def test_a_sign_out_holds_however_many_later_sign_ins_were_ended_before_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older ones of many that were ended are not kept singly; they are over all the same."""
    monkeypatch.setattr(passes, "MAX_SIGNED_OUT", 3)
    with database.write() as transaction:
        people.add_user(transaction, "other", frozenset(), None, NOW)
    secrets = [
        issue(database, replace(SESSION, expires_at=SESSION.expires_at + number), NOW)
        for number in range(10)
    ]
    theirs = issue(database, replace(SESSION, name="other"), NOW)
    for secret in (*secrets[3:8], secrets[0]):
        sign_out(database, secret)
    policy = load_policy(database)

    def over(name: str, number: int, secret: str) -> bool:
        """Return whether a terminal that it opened has to close."""
        sign_in = SignIn(hash_secret(secret), SESSION.expires_at + number)
        identity = Identity(name, frozenset(), Method.CERTIFICATE, sign_in=sign_in)
        return isinstance(policy.check_credential(identity, NOW), Denial)

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
    monkeypatch.setattr(passes, "MAX_SIGNED_OUT", 3)
    with database.write() as transaction:
        people.add_user(transaction, "other", frozenset(), None, NOW)
    secrets = []
    for name in ("other", *["dev"] * 5):
        later = SESSION.expires_at + len(secrets)
        secrets.append(issue(database, replace(SESSION, name=name, expires_at=later), NOW))
        sign_out(database, secrets[-1])
    kept_ones = (secrets[0], *secrets[-4:])
    signed_out = load_policy(database).signed_out
    assert signed_out.keys() == {sign_in(secret).id for secret in kept_ones}


def test_sign_ins_are_listed_a_page_at_a_time_and_found_by_a_part(database: Database) -> None:
    with database.write() as transaction:
        for name in ("ann", "d_v"):
            people.add_user(transaction, name, frozenset(), None, NOW)
    login = replace(LOGIN, label="laptop 100%", key_fingerprint="SHA256:of")
    owners = ("ann", "dev", "dev", "dev", "d_v")
    for number, name in enumerate(owners):
        issue(database, replace(login, name=name, key_fingerprint=f"SHA256:{number}"), NOW)
    seen: list[str] = []
    after: tuple[str, str] | None = None
    for _ in range(3):
        page, after = search_sign_ins(database, NOW, "", after, 2)
        seen += [record.sign_in.name + record.id for record in page]
    assert after is None
    assert len(seen) == len(set(seen)) == 5
    for part, number in (("ann", 1), ("d_v", 1), ("100%", 5), ("192.0", 5), ("%", 5), ("x", 0)):
        assert len(search_sign_ins(database, NOW, part, None, 9)[0]) == number, part
    assert search_sign_ins(database, LOGIN.expires_at, "", None, 9) == ([], None)


def test_a_proof_by_password_is_of_one_sign_in_and_opens_nothing(database: Database) -> None:
    first, second = issue(database, SESSION, NOW), issue(database, SESSION, NOW)
    id_ = hash_secret(first)
    for at in (NOW + 1, NOW + 5):
        with database.write() as transaction:
            assert passes.prove_by_password(transaction, id_, at, at + 900) == "dev"
    policy = load_policy(database)
    assert policy.password_proofs == {id_: NOW + 5}
    assert policy.stepped_up == {}
    sign_out(database, second, NOW + 6)
    with database.write() as transaction, pytest.raises(NotFoundError):
        passes.prove_by_password(transaction, hash_secret(second), NOW + 7, NOW + 907)
    issue(database, SESSION, NOW + 1000)
    assert load_policy(database).password_proofs == {}, "it is removed when it counts no more"
