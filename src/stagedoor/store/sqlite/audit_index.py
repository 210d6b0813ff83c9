"""The index of the audit: its words for the search, and the last use of grants, keys, tokens and users.

It is an SQLite file of its own beside any store, so that no login waits for it. One process of a machine
fills it, as a sink follows the audit, and others read it. The audit has all that it holds: the file may be
deleted at any time, and is made again.
"""

import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from stagedoor.model.errors import StoreError
from stagedoor.model.event import EventKind
from stagedoor.model.identity import Method
from stagedoor.store.journal import JournalEntry

FILE = "audit-index.sqlite3"
MAX_EVENTS = 4_000_000
"""The events that it holds at most, some 120 bytes each."""
MAX_SEARCH_S = 2.0
"""How long one search may take."""
_VERSION = 3
PART = 50_000
"""The events in one table of words. The newest are searched first, so a word that all events have costs no
more than one that few have. What the audit has removed leaves the index table by table."""
_HOUR_S = 3600
_LAST_TERM = re.compile(r"[A-Za-z0-9]+(?=[^A-Za-z0-9]*\Z)")
_TABLES = """
CREATE TABLE progress (last INTEGER NOT NULL);
INSERT INTO progress VALUES (0);
CREATE TABLE hours (hour INTEGER PRIMARY KEY, seq INTEGER NOT NULL);
CREATE TABLE grant_uses (number INTEGER PRIMARY KEY, at REAL NOT NULL, user TEXT NOT NULL);
CREATE TABLE user_uses (user TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE credential_uses (credential TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
"""
_WORDS = "USING fts5(who, app, source, kind, rest, content='')"
_USES = (EventKind.SESSION_OPENED, EventKind.SESSION_RESUMED)
_NAMED = (Method.PUBLIC_KEY.value, Method.TOKEN.value)
"""The methods whose credential is a key's fingerprint or a token's id."""


@dataclass(frozen=True, slots=True)
class SearchText:
    """A text that events have, as the beginning of a word. `column` is where to look, None for anywhere."""

    text: str
    column: str | None = None

    @property
    def last_term(self) -> str | None:
        """The last word of the text as the index has it, None if only FTS5 knows."""
        match = _LAST_TERM.search(self.text)
        return match[0].lower() if match is not None and self.text.isascii() else None

    def make_match(self, *, is_whole: bool) -> str:
        """Return it as an expression of FTS5, in which nothing of the text has a meaning.

        If no longer word of the index begins with its last one, it `is_whole`.
        """
        string = '"' + self.text.replace('"', '""').replace("\0", " ") + '"'
        star = "" if is_whole else " *"
        return f"{self.column} : {string}{star}" if self.column else f"{string}{star}"


class AuditIndex:
    """The opened file. For one thread."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    @classmethod
    def open_to_write(cls, folder: Path) -> "AuditIndex":
        """Open the file, or make it; one of another version is made again. Raises StoreError."""
        path = folder / FILE
        with _explained(path):
            index = _open_whole(path)
            if index is not None:
                return index
            for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
                name.unlink(missing_ok=True)
            index = cls(_connect(path))
            path.chmod(0o600)
            index._raw.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT")
        return index

    @classmethod
    def open_to_read(cls, folder: Path) -> "AuditIndex | None":
        """Open the file, or return None if there is none yet. Raises StoreError."""
        path = folder / FILE
        if not path.exists():
            return None
        with _explained(path):
            raw = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
            return _keep_current(raw)

    @property
    def version(self) -> int:
        """The version of its tables, 0 for a new file."""
        return int(self._raw.execute("PRAGMA user_version").fetchone()[0])

    @property
    def last(self) -> int:
        """The `seq` of the last event that it has."""
        return int(self._raw.execute("SELECT last FROM progress").fetchone()[0])

    def close_file(self) -> None:
        """Close the file."""
        self._raw.close()

    def restart_after(self, seq: int) -> None:
        """Forget all words, to continue with the events after `seq`. Raises StoreError."""
        self.drop_before(1 << 62)
        with _explained(None), self._raw:
            self._raw.execute("DELETE FROM hours")
            self._raw.execute("UPDATE progress SET last = ?", (seq,))

    def drop_before(self, seq: int) -> None:
        """Forget the words of tables whose events are all before `seq`. Raises StoreError."""
        with _explained(None), self._raw:
            for part in self._list_parts():
                if (part + 1) * PART <= seq:
                    self._raw.execute(f"DROP TABLE words_{part}")

    def add(self, entries: Sequence[JournalEntry]) -> None:
        """Add the next events; those that it has are left out. Raises StoreError."""
        if not entries:
            return
        with _explained(None), self._raw:
            self._raw.execute("BEGIN IMMEDIATE")
            last = self.last
            self._write([entry for entry in entries if entry.seq > last])
        self.drop_before(self.last - MAX_EVENTS)

    def _list_parts(self) -> list[int]:
        """Return the numbers of the tables of words, the newest first."""
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%USING fts5%'"
        names = [row[0] for row in self._raw.execute(query)]
        return sorted((int(name.removeprefix("words_")) for name in names), reverse=True)

    def _write(self, entries: Sequence[JournalEntry]) -> None:
        uses = [e.event for e in entries if e.event.kind in _USES and e.event.identity is not None]
        for part, group in groupby(entries, key=lambda entry: entry.seq // PART):
            self._raw.execute(f"CREATE VIRTUAL TABLE IF NOT EXISTS words_{part} {_WORDS}")
            self._raw.executemany(
                f"INSERT INTO words_{part} (rowid, who, app, source, kind, rest) "  # noqa: S608
                "VALUES (?, ?, ?, ?, ?, ?)",
                map(_list_words, group),
            )
        self._raw.executemany(
            "INSERT OR IGNORE INTO hours VALUES (?, ?)",
            [(int(e.event.at // _HOUR_S), e.seq) for e in entries],
        )
        self._raw.executemany(
            "INSERT OR REPLACE INTO user_uses VALUES (?, ?)",
            [(event.identity, event.at) for event in uses],
        )
        self._raw.executemany(
            "INSERT OR REPLACE INTO grant_uses VALUES (?, ?, ?)",
            [(e.fields["grant"], e.at, e.identity) for e in uses if e.fields.get("grant")],
        )
        self._raw.executemany(
            "INSERT OR REPLACE INTO credential_uses VALUES (?, ?)",
            [
                (e.fields["credential"], e.at)
                for e in uses
                if e.fields.get("method") in _NAMED and e.fields.get("credential")
            ],
        )
        if entries:
            self._raw.execute("UPDATE progress SET last = ?", (entries[-1].seq,))

    def search(
        self,
        words: Sequence[SearchText],
        *,
        since: float | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[int]:
        """Return the numbers (`seq`) of the newest events that have all `words`.

        They are below `before`, and of the hour of `since` (seconds since the epoch) or later. Raises
        StoreError, also after MAX_SEARCH_S.
        """
        first = 0
        with _explained(None):
            if since is not None:
                query = "SELECT min(seq) FROM hours WHERE hour >= ?"
                first = self._raw.execute(query, (int(since // _HOUR_S),)).fetchone()[0]
                if first is None:
                    return []
            deadline = time.monotonic() + MAX_SEARCH_S
            self._raw.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
            numbers: list[int] = []
            below = (1 << 62) if before is None else before
            for part in self._list_parts():
                if part * PART >= below or len(numbers) == limit:
                    continue
                if (part + 1) * PART <= first:
                    break
                rows = self._raw.execute(
                    f"SELECT rowid FROM words_{part} WHERE words_{part} MATCH ? AND rowid >= ? "  # noqa: S608
                    "AND rowid < ? ORDER BY rowid DESC LIMIT ?",
                    (self._make_match(part, words), first, below, limit - len(numbers)),
                )
                numbers += [row[0] for row in rows]
            return numbers

    def _make_match(self, part: int, words: Sequence[SearchText]) -> str:
        """Return the expression of FTS5 for all `words` in a part.

        FTS5 copies all places of the words that a beginning matches before it compares any, and those of a
        whole word it reads as far as it needs them: a tenth of the time for one that most events have.
        """
        return " AND ".join(
            word.make_match(is_whole=self._is_whole(part, word.last_term)) for word in words
        )

    def _is_whole(self, part: int, term: str | None) -> bool:
        """Return whether no longer word of the part begins with `term`."""
        if term is None:
            return False
        self._raw.execute(
            f"CREATE VIRTUAL TABLE IF NOT EXISTS temp.terms_{part} "
            f"USING fts5vocab(main, words_{part}, instance)"
        )
        # Words have letters and digits alone, of which 0 is the first.
        query = f"SELECT 1 FROM temp.terms_{part} WHERE term >= ? AND term < ? LIMIT 1"  # noqa: S608
        return self._raw.execute(query, (f"{term}0", f"{term}\U0010ffff")).fetchone() is None

    def read_grant_uses(self, numbers: Sequence[int]) -> dict[int, tuple[float, str]]:
        """Return when each of these grants was last used, and the user, if it was. Raises StoreError."""
        rows = self._read("grant_uses", "number", numbers, "number, at, user")
        return {number: (at, user) for number, at, user in rows}

    def read_user_uses(self, names: Sequence[str]) -> dict[str, float]:
        """Return when each of these users last opened a session. Raises StoreError."""
        return dict(self._read("user_uses", "user", names, "user, at"))

    def read_credential_uses(self, ids: Sequence[str]) -> dict[str, float]:
        """Return when each of these keys and tokens last opened a session. Raises StoreError."""
        return dict(self._read("credential_uses", "credential", ids, "credential, at"))

    def _read(
        self, table: str, key: str, wanted: Sequence[str] | Sequence[int], columns: str
    ) -> list[Any]:
        marks = ", ".join("?" * len(wanted))
        with _explained(None):
            query = f"SELECT {columns} FROM {table} WHERE {key} IN ({marks})"  # noqa: S608 - names of ours
            return self._raw.execute(query, tuple(wanted)).fetchall()


def _open_whole(path: Path) -> AuditIndex | None:
    """Open the file, or return None if it is damaged or of another version."""
    try:
        return _keep_current(_connect(path))
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise
    return None


def _keep_current(raw: sqlite3.Connection) -> AuditIndex | None:
    """Return the index of this file, or close it and return None if it is of another version."""
    index, is_current = AuditIndex(raw), False
    try:
        is_current = index.version == _VERSION
    finally:
        if not is_current:
            raw.close()
    return index if is_current else None


def _connect(path: Path) -> sqlite3.Connection:
    raw = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
    try:
        # What a power cut takes from it is added again, so it waits for no disk.
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA synchronous = OFF")
    except BaseException:
        raw.close()
        raise
    return raw


def _list_words(entry: JournalEntry) -> tuple[int, str, str, str, str, str]:
    event = entry.event
    kind = f"{event.kind.value} {event.reason or ''} {event.access_method or ''}"
    if event.kind is EventKind.AUDIT_CHECKPOINT:
        return entry.seq, "", "", "", kind, ""
    rest = " ".join(str(v) for v in (event.session, *event.fields.values()) if v is not None)
    return entry.seq, event.identity or "", event.target or "", event.source or "", kind, rest


@contextmanager
def _explained(path: Path | None) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        where = "the audit's index" if path is None else f"the audit's index {path}"
        raise StoreError(
            f"{where}: {error}; it may be deleted, and is made again",
            "the audit cannot be searched now",
        ) from error
