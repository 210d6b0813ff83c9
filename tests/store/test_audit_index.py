"""The audit's index: what it finds, how it follows, and that it can always be made again."""

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import pytest
from msgspec.structs import replace

from stagedoor.admin.audit.search import parse_words, search_audit
from stagedoor.model.errors import StoreError
from stagedoor.model.event import Event, EventKind
from stagedoor.store.database import Database, open_database
from stagedoor.store.journal import StoreJournal, read_entries
from stagedoor.store.sqlite import audit_index
from stagedoor.store.sqlite.audit_index import FILE, AuditIndex

NOW = 1_800_000_000.0


def opened(name: str, target: str, at: float = NOW, grant: int = 1) -> Event:
    return Event(
        at,
        EventKind.SESSION_OPENED,
        "w1",
        f"{name}-{target}-{at:.0f}",
        name,
        f"{target}.ssh",
        "10.2.8.31:4711",
        "web",
        fields=MappingProxyType({"grant": grant, "method": "password"}),
    )


def denied(name: str, target: str, message: str, at: float = NOW) -> Event:
    fields = MappingProxyType({"message": message})
    kind = EventKind.SESSION_DENIED
    return Event(at, kind, "w1", None, name, f"{target}.ssh", "[::1]:9", "jump", "no_grant", fields)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path / "stagedoor.sqlite3")
    yield database
    database.close()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[AuditIndex]:
    index = AuditIndex.open_to_write(tmp_path)
    yield index
    index.close_file()


def follow(database: Database, index: AuditIndex, *events: Event) -> None:
    StoreJournal(database).append(events)
    index.add(read_entries(database, after=index.last))


def found(database: Database, folder: Path, text: str, since: float | None = None) -> list[str]:
    page = search_audit(database, folder, text, may_see=lambda event: True, since=since)
    return [f"{entry.event.identity} {entry.event.kind.value}" for entry in page.entries]


def test_words_find_events_by_their_beginnings_and_parts(
    database: Database, index: AuditIndex, tmp_path: Path
) -> None:
    follow(
        database,
        index,
        opened("alice", "billing.production"),
        denied("bob", "billing.staging", "no grant for 'bob' to enter billing (INC-42)"),
        opened("bob", "shop"),
    )
    for text, names in (
        ("alice", ["alice session.opened"]),
        ("ali", ["alice session.opened"]),
        ("user:bob kind:denied", ["bob session.denied"]),
        ("app:billing.staging", ["bob session.denied"]),
        ("app:bill", ["bob session.denied", "alice session.opened"]),
        ("from:10.2 bob", ["bob session.opened"]),
        ("INC-42", ["bob session.denied"]),
        ("kind:no_grant", ["bob session.denied"]),
        ("user:billing", []),
        ("alice bob", []),
        ("", ["bob session.opened", "bob session.denied", "alice session.opened"]),
    ):
        assert found(database, tmp_path, text) == names, text


def test_the_beginning_of_a_word_is_found_beside_the_whole_word(
    database: Database, index: AuditIndex, tmp_path: Path
) -> None:
    """FTS5 is asked for whole words where no longer one begins so, which must not be seen."""
    names = ("shop", "shop-two", "shopping", "shop2", "shoz")
    follow(database, index, *(opened(name, "app.production") for name in names))
    follow(database, index, opened("Über", "app"))
    for text, number in (
        ("user:shop", 4),
        ("user:SHOP", 4),
        ("user:shoppin", 1),
        ("user:shopping", 1),
        ("user:shop-", 4),
        ("user:shop-two", 1),
        ("user:shop2", 1),
        ("app:app.production user:sho", 5),
        ("app:app.prod", 5),
        ("app:production.app", 0),
        ("über", 1),
        ("user:üb", 1),
    ):
        assert len(found(database, tmp_path, text)) == number, text


@pytest.mark.parametrize(
    "text",
    [
        '"',
        "NOT",
        "a OR b",
        "who:x",
        "x*",
        "(",
        "NEAR(a b)",
        "-",
        "a\0b",
        "user:",
        "^q",
        "' --",
        "*" * 500,
    ],
)
def test_nothing_that_is_typed_is_an_expression(
    database: Database, index: AuditIndex, tmp_path: Path, text: str
) -> None:
    follow(database, index, opened("alice", "shop"))
    hits = found(database, tmp_path, text)
    assert hits == ([] if parse_words(text) else ["alice session.opened"])


def test_a_search_is_of_a_time_and_goes_on_page_by_page(
    database: Database, index: AuditIndex, tmp_path: Path
) -> None:
    follow(database, index, *(opened("alice", "shop", NOW + at * 3600) for at in range(120)))
    page = search_audit(database, tmp_path, "alice", may_see=lambda event: True)
    seen = [entry.seq for entry in page.entries]
    while page.before is not None:
        page = search_audit(
            database, tmp_path, "alice", may_see=lambda event: True, before=page.before
        )
        seen += [entry.seq for entry in page.entries]
    assert seen == list(range(120, 0, -1))
    assert len(found(database, tmp_path, "alice", NOW + 117 * 3600)) == 3
    assert found(database, tmp_path, "alice", NOW + 500 * 3600) == []


def test_it_knows_the_last_use_of_grants_and_of_users(
    database: Database, index: AuditIndex
) -> None:
    follow(database, index, opened("alice", "shop", NOW, 3), opened("bob", "shop", NOW + 9, 3))
    follow(database, index, opened("alice", "shop", NOW + 5, 4))
    assert index.read_grant_uses([3, 4, 5]) == {3: (NOW + 9, "bob"), 4: (NOW + 5, "alice")}
    assert index.read_user_uses(["alice", "eve"]) == {"alice": NOW + 5}


def test_it_knows_the_last_use_of_keys_and_tokens(database: Database, index: AuditIndex) -> None:
    def by(method: str, credential: str | None, at: float) -> Event:
        fields = MappingProxyType({"method": method, "credential": credential})
        return replace(opened("alice", "shop", at), fields=fields)

    follow(
        database,
        index,
        by("publickey", "SHA256:k", NOW),
        by("token", "t1", NOW + 1),
        by("publickey", "SHA256:k", NOW + 2),
        by("password", None, NOW + 3),
        by("sso", "t2", NOW + 4),
    )
    used = index.read_credential_uses(["SHA256:k", "t1", "t2", "t3"])
    assert used == {"SHA256:k": NOW + 2, "t1": NOW + 1}, "a provider is no token"


def test_what_it_has_already_is_not_added_again(
    database: Database, index: AuditIndex, tmp_path: Path
) -> None:
    follow(database, index, opened("alice", "shop"))
    index.add(read_entries(database))
    assert found(database, tmp_path, "alice") == ["alice session.opened"]


def test_it_is_bounded_and_forgets_what_the_audit_removed(
    database: Database, index: AuditIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_index, "MAX_EVENTS", 20)
    monkeypatch.setattr(audit_index, "PART", 10)
    follow(database, index, *(opened("alice", "shop", NOW + at) for at in range(48)))
    assert len(found(database, tmp_path, "alice")) == 29, "from 20 to 48"
    index.drop_before(35)
    assert len(found(database, tmp_path, "alice")) == 19, "from 30"
    page = search_audit(database, tmp_path, "alice", may_see=lambda event: True, before=45)
    assert [entry.seq for entry in page.entries] == list(range(44, 29, -1))
    index.restart_after(40)
    index.add(read_entries(database, after=index.last))
    assert len(found(database, tmp_path, "alice")) == 8


def test_a_file_of_another_version_or_of_something_else_is_made_again(tmp_path: Path) -> None:
    index = AuditIndex.open_to_write(tmp_path)
    index._raw.execute("PRAGMA user_version = 99")
    index.close_file()
    assert AuditIndex.open_to_read(tmp_path) is None
    for damaged in (None, b"no database at all, but long enough to be read as one" * 99):
        if damaged is not None:
            (tmp_path / FILE).write_bytes(damaged)
        AuditIndex.open_to_write(tmp_path).close_file()
    again = AuditIndex.open_to_read(tmp_path)
    assert again is not None
    again.close_file()
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


def test_without_an_index_only_a_search_for_words_fails(database: Database, tmp_path: Path) -> None:
    StoreJournal(database).append([opened("alice", "shop")])
    assert found(database, tmp_path, "") == ["alice session.opened"]
    with pytest.raises(StoreError, match="no index yet"):
        found(database, tmp_path, "alice")
    (tmp_path / FILE).write_bytes(b"no database at all, but long enough to be read as one" * 99)
    with pytest.raises(StoreError, match="index"):
        found(database, tmp_path, "alice")
