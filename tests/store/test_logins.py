"""Logins of machines, on every kind of store: one waits, one gets it, and it ends as a browser's does."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from stagedoor.admin.service import AdminService
from stagedoor.admin.sign_ins import end_by_provider
from stagedoor.authn.passes import Lifetimes
from stagedoor.model.errors import NotFoundError
from stagedoor.model.fair_queue import PendingLimits
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.letters import hash_letters
from stagedoor.model.pending_login import (
    LOGIN_PENDING_S,
    PendingLogin,
    approve_by_letters,
    deny,
    spend,
)
from stagedoor.model.policy import KeyRecord
from stagedoor.model.secret import hash_secret
from stagedoor.model.webpass import KeyLogin, ProviderAnswer, SignInPass, WebSession
from stagedoor.store import people
from stagedoor.store.database import Database
from stagedoor.store.policy import load_policy
from stagedoor.store.shares import remove_share
from stagedoor.store.sign_in import passes, pending_logins, step_ups
from stagedoor.store.sign_in import provider_answers as answers
from stagedoor.store.sign_in.logins import find_sign_in_by_number, find_sign_in_of_key
from stagedoor.store.sign_in.passkeys import find_passkey
from stagedoor.store.sign_in.provider_answers import RefreshCandidate
from stagedoor.store.sign_in.sign_ins import list_sign_ins
from tests.fixtures.people import open_machine, open_session
from tests.store.sample import change

NOW = 1_700_000_000.0
GATEWAY = "https://gw.example"
ANSWER = ProviderAnswer("Company", "https://id.example", "1", "sid", None, NOW, "sealed", NOW + 600)
CAROL = Identity("carol", frozenset(), Method.SSO, "Company")
LIFETIMES = Lifetimes()


@pytest.fixture(autouse=True)
def carol(database: Database) -> None:
    with database.write() as transaction:
        people.add_user(transaction, "carol", frozenset(), None, NOW)


def pending(id_: str, source: str = "192.0.2.1") -> PendingLogin:
    return PendingLogin(
        id_,
        hash_secret("verifier"),
        "ssh-ed25519 AAAA",
        "SHA256:abc",
        hash_letters(id_, "BCDFGHJK", GATEWAY),
        source,
        "laptop",
        40000,
        NOW,
        NOW + LOGIN_PENDING_S,
    )


def browser(database: Database, *, now: float = NOW, session_s: float = 12 * 3600.0) -> WebSession:
    return open_session(database, CAROL, now, answer=ANSWER, session_s=session_s)[1]


def sign_in(ended: SignInPass | None) -> SignIn:
    assert ended is not None
    return ended.sign_in


def logged_in(
    database: Database, by: SignInPass, key: str = "SHA256:abc", now: float = NOW + 60
) -> tuple[str, KeyLogin]:
    with change(database, "login") as c:
        return open_machine(
            c.transaction,
            replace(CAROL, sign_in=by.sign_in),
            now,
            fingerprint=key,
            session_s=LIFETIMES.session_s,
        )


def test_a_pending_login_comes_back_as_it_was_and_only_one_changes_it(database: Database) -> None:
    before = pending("one")
    assert pending_logins.add(database, before, NOW) is None
    assert pending_logins.find(database, "one") == before
    after = approve_by_letters(before, NOW, b"s" * 32, "carol", "BCDFGHJK", GATEWAY)

    def approve(after: PendingLogin) -> bool:
        with database.write() as transaction:
            return pending_logins.change(transaction, before, after)

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(approve, [after, deny(before, NOW)] * 2)) == [False] * 3 + [True]
    identity = pending_logins.find(database, "one")
    assert identity in (after, deny(before, NOW))
    with database.write() as transaction:
        assert not pending_logins.change(transaction, before, spend(after))


def test_pending_logins_are_bounded_by_source_by_site_and_in_all(database: Database) -> None:
    """An attacker who has an IPv6 /48 has 65,536 sources."""

    def add(id_: str, source: str, now: float = NOW) -> str | None:
        full = pending_logins.add(database, pending(id_, source), now, PendingLimits(2, 3, 4))
        return None if full is None else full.where

    one, two, other = "2001:db8:1::/64", "2001:db8:1:2::/64", "2001:db8:2::/64"
    assert [add("1", one), add("2", one), add("3", one)] == [None, None, " from your address"]
    assert [add("4", two), add("5", two)] == [None, " from your network"]
    assert [add("6", other), add("7", other)] == [None, None]
    assert [add("8", other), add("9", "192.0.2.1")] == [" from your address", None]
    assert add("10", two, NOW + LOGIN_PENDING_S) is None, "those are over"
    assert pending_logins.find(database, "1") is None


def test_whoever_has_most_that_wait_makes_room_for_others(database: Database) -> None:
    """Ten /48s or 50 IPv4 addresses filled all places, and no other person could begin a login."""

    def add(number: int, source: str) -> str | None:
        login = replace(pending(str(number), source), created_at=NOW + number)
        full = pending_logins.add(database, login, NOW, PendingLimits(3, 4, 8))
        return None if full is None else full.where

    floods = [f"2001:db8:{site}:{n}::/64" for site in (1, 2) for n in (1, 1, 1, 2)]
    assert [add(number, source) for number, source in enumerate(floods)] == [None] * 8
    assert add(8, floods[0]) == " from your address"
    honest = [f"192.0.2.{number}" for number in range(8)]
    results = [add(10 + number, source) for number, source in enumerate(honest)]
    assert results == [None] * 6 + [""] * 2, "by then nobody has more than one"
    assert add(20, honest[0]) == ""
    there = [n for n in range(30) if pending_logins.find(database, str(n)) is not None]
    first, second, *others = there
    assert first in (0, 3), "the newest of the source with most went"
    assert second in (4, 7)
    assert others == [*range(10, 16)]


@pytest.mark.parametrize("text", ["\0", "\ud800", "x\n", "é"])
def test_a_name_that_no_database_takes_is_that_of_no_row(database: Database, text: str) -> None:
    """It was a fault of ours with one database, and a store that cannot be used with the other."""
    assert pending_logins.find(database, text) is None
    with database.read() as transaction:
        assert step_ups.find(transaction, text) is None
        assert find_passkey(transaction, text) is None
        with pytest.raises(NotFoundError):
            remove_share(transaction, text, "carol")


def test_a_login_is_bound_to_its_key_and_found_by_key_and_number(database: Database) -> None:
    by = browser(database)
    secret, login = logged_in(database, by)
    mine = sign_in(login)
    assert (login.name, login.method, login.credential_id) == ("carol", Method.SSO, "Company")
    assert login.expires_at == NOW + 60 + LIFETIMES.session_s
    assert login.latest_end == NOW + LIFETIMES.session_max_s, "no later than the browser's"
    login = replace(login, answered_at=NOW)  # by the answer to the browser, which it follows
    assert find_sign_in_of_key(database, "SHA256:abc", NOW + 61) == login
    assert find_sign_in_of_key(database, "SHA256:other", NOW + 61) is None
    assert find_sign_in_of_key(database, "SHA256:abc", login.expires_at) is None
    assert 0 <= mine.number < 2**63
    assert find_sign_in_by_number(database, mine.number, NOW + 61) == login
    assert find_sign_in_by_number(database, mine.number ^ 1, NOW + 61) is None
    assert find_sign_in_by_number(database, 2**64, NOW + 61) is None
    assert passes.find(database, KeyLogin, secret) == login
    assert passes.find(database, WebSession, secret) is None, "it is no cookie"
    listed = {
        listed_sign_in.sign_in.label: listed_sign_in.key_fingerprint
        for listed_sign_in in list_sign_ins(database, NOW + 61)
    }
    assert listed == {None: None, "laptop": "SHA256:abc"}


def test_a_sign_in_by_a_key_that_is_another_users_now_is_not_listed(database: Database) -> None:
    by_key = Identity("carol", frozenset(), Method.PUBLIC_KEY, "SHA256:abc")
    open_session(database, by_key, NOW)
    for owner, listed in (("carol", 1), ("dave", 0)):
        with change(database, "key") as c:
            if listed == 0:
                people.remove_key(c.transaction, "SHA256:abc")
                people.add_user(c.transaction, owner, frozenset(), None, NOW)
            key = KeyRecord(owner, "SHA256:abc", "ssh-ed25519 AAAA")
            people.add_key(c.transaction, key, NOW)
        assert len(list_sign_ins(database, NOW)) == listed


def test_an_ended_login_is_news_of_the_policy(database: Database) -> None:
    _, login = logged_in(database, browser(database))
    mine = sign_in(login)
    with change(database, "end") as c:
        passes.end_sign_in(c.transaction, mine.id, "laptop stolen", NOW + 70)
    assert load_policy(database).explain_sign_in_end("carol", mine, NOW + 71) == "laptop stolen"
    assert find_sign_in_of_key(database, "SHA256:abc", NOW + 71) is None
    assert find_sign_in_by_number(database, mine.number, NOW + 71) is None


def test_the_next_login_with_a_key_ends_the_one_before(database: Database) -> None:
    by = browser(database)
    _, first = logged_in(database, by)
    _, second = logged_in(database, by, now=NOW + 90)
    assert sign_in(find_sign_in_of_key(database, "SHA256:abc", NOW + 91)) == second.sign_in
    over = load_policy(database).explain_sign_in_end("carol", sign_in(first), NOW + 91)
    assert over is not None
    assert "another login" in over


def test_a_sign_in_that_is_over_approves_nothing(database: Database) -> None:
    by = browser(database)
    with change(database, "end") as c:
        passes.end_sign_in(c.transaction, by.id, "over", NOW + 1)
    with pytest.raises(NotFoundError, match="approve again"):
        logged_in(database, by)
    _, login = logged_in(database, browser(database))
    with pytest.raises(NotFoundError):  # a machine approves no other
        logged_in(database, login, key="SHA256:next")


def due(database: Database, now: float) -> list[RefreshCandidate]:
    return answers.list_due(database, ["Company"], now, 100)


def answered_at(database: Database, key: str, now: float) -> float | None:
    holder = find_sign_in_of_key(database, key, now)
    assert holder is not None
    return holder.answered_at


def test_one_refresh_token_answers_for_the_logins_too(database: Database) -> None:
    by = browser(database)
    logged_in(database, by)
    asked = NOW + 600
    [mine] = answers.take_turns(database, due(database, asked), asked + 60)
    with database.write() as transaction:
        answers.settle(transaction, mine, ask_at=asked + 600, answered_at=asked)
        ended = answers.find_sign_ins(transaction, "https://id.example", None, "sid")
    assert answered_at(database, "SHA256:abc", asked) == asked
    assert len(ended) == 2, "a provider's logout names both"


def test_a_browser_that_signs_out_hands_the_token_to_a_login(database: Database) -> None:
    by = browser(database)
    logged_in(database, by)
    _, other = logged_in(database, by, "SHA256:other", NOW + 90)
    asked = NOW + 600
    [mine] = answers.take_turns(database, due(database, asked), asked + 60)
    with change(database, "sign out") as c:
        passes.end_sign_in(c.transaction, by.id, "over", asked)
    # The one who asked meanwhile brings the new token, or the provider would see the old one twice.
    answers.rotate_token(database, mine, "sealed again")
    with database.write() as transaction:
        assert not answers.settle(transaction, mine, ask_at=asked + 600, answered_at=asked)
    [next_] = due(database, asked + 60)
    assert (next_.sign_in, next_.refresh_token) == (sign_in(other).id, "sealed again")
    with database.read() as transaction:
        assert answers.list_followers(transaction, next_.sign_in) == [
            sign_in(find_sign_in_of_key(database, "SHA256:abc", asked)).id
        ]


def test_a_browser_that_expires_hands_the_token_over(database: Database) -> None:
    by = browser(database, session_s=1000)
    _, login = logged_in(database, by)
    later = by.expires_at + 1
    assert due(database, later) == []
    answers.adopt(database, later)
    assert [refresh.sign_in for refresh in due(database, later)] == [sign_in(login).id]
    browser(database, now=later)  # which throws away what has expired
    assert sign_in(login).id in {refresh.sign_in for refresh in due(database, later)}


def test_the_provider_ends_the_browser_and_its_logins_at_once(
    database: Database, tmp_path: Path
) -> None:
    by = browser(database)
    _, login = logged_in(database, by)
    asked = NOW + 600
    [mine] = answers.take_turns(database, due(database, asked), asked + 60)
    service = AdminService(database, tmp_path, "Company (sso)", lambda: asked)
    assert end_by_provider(service, mine, "invalid_grant")
    policy = load_policy(database)
    for user in (by.sign_in, login.sign_in):
        assert (
            policy.explain_sign_in_end("carol", user, asked)
            == "Company ended your sign-in; sign in again"
        )
    assert due(database, asked + 9999) == []
