"""Searching the audit by words, with the help of its index."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagedoor.model.errors import StoreError
from stagedoor.model.event import Event
from stagedoor.store.database import Database
from stagedoor.store.journal import JournalEntry, read_newest
from stagedoor.store.sqlite.audit_index import AuditIndex, SearchText

PAGE = 50
MAX_READ = 5000
"""The most events that one search reads for a person who may see only a part of them."""
MAX_WORDS = 10
MAX_CHARS = 200
_COLUMNS = {"user": "who", "app": "app", "from": "source", "kind": "kind"}


@dataclass(frozen=True, slots=True)
class SearchPage:
    """A page of events, the newest first. `before` is where the next page begins, None at the end."""

    entries: Sequence[JournalEntry]
    before: int | None = None


def parse_words(text: str) -> list[SearchText]:
    """Return the words that a person typed.

    `user:alice`, `app:shop.production`, `from:10.2` and `kind:denied` search only that part.
    """
    words = []
    for word in text[:MAX_CHARS].split()[:MAX_WORDS]:
        name, colon, rest = word.partition(":")
        column = _COLUMNS.get(name.lower()) if colon and rest else None
        if column is not None:
            word = rest
        if not any(letter.isalnum() for letter in word):
            continue
        words.append(SearchText(word, column))
    return words


def search_audit(
    database: Database,
    folder: Path,
    text: str,
    *,
    may_see: Callable[[Event], bool],
    since: float | None = None,
    before: int | None = None,
) -> SearchPage:
    """Return the events that have all words of `text` and that this person `may_see`, the newest first.

    `folder` is that of the index. Without words it is not needed. Raises StoreError.
    """
    words = parse_words(text)
    index = AuditIndex.open_to_read(folder) if words else None
    if words and index is None:
        raise StoreError(
            "the audit has no index yet; the gateway makes it within minutes of its start",
            "the audit cannot be searched yet; try again in a minute",
        )
    entries_shown: list[JournalEntry] = []
    read = 0
    try:
        while read < MAX_READ:
            numbers = None
            if index is not None:
                numbers = index.search(words, since=since, before=before, limit=PAGE * 2)
            entries = read_newest(database, PAGE * 2, before=before, numbers=numbers)
            if not entries:
                return SearchPage(entries_shown)
            for entry in entries:
                if since is not None and entry.event.at < since:
                    return SearchPage(entries_shown)
                if not may_see(entry.event):
                    continue
                entries_shown.append(entry)
                if len(entries_shown) == PAGE:
                    return SearchPage(entries_shown, entry.seq)
            before = entries[-1].seq
            read += len(entries)
    finally:
        if index is not None:
            index.close_file()
    return SearchPage(entries_shown, before)
