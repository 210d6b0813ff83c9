"""The check that exported lines are what the gateway wrote: complete, unchanged and in order. Pure.

It needs only the lines. The `prev` of the next line reveals a changed line, and a checkpoint confirms the
lines before it. Lines after the last checkpoint are unconfirmed, and the report says where they begin.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from stagedoor.audit.chain import NOTHING, ChainLink, claim_of, hash_line, make_statement
from stagedoor.model.event import EventKind

REMEMBERED = 20_000
"""The number of lines whose hashes are kept. After a crash a sink delivers the lines of the last second
again."""

CheckSignature = Callable[[str, str], str | None]
"""Takes a statement and a signature, and returns the fingerprint of the key that made it, or None."""


@dataclass(frozen=True, slots=True)
class ChainProblem:
    """The first fault. `line` is the number of the line in `file`, from 1."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.what}"


@dataclass(slots=True)
class Report:
    """The result; no `fault` means that nothing is wrong up to `confirmed`.

    `first` and `last` are the numbers of the first and the last event; `from_start` says that nothing
    is before the first; `keys` counts the checkpoints that each key signed, by its fingerprint.
    """

    lines: int = 0
    repeated: int = 0
    first: int = 0
    last: int = 0
    from_start: bool = False
    confirmed: int = 0
    keys: dict[str, int] = field(default_factory=dict)
    fault: ChainProblem | None = None


class _FaultError(Exception):
    def __init__(self, file: str, line: int, what: str) -> None:
        self.fault = ChainProblem(file, line, what)


@dataclass(frozen=True, slots=True)
class _Line:
    file: str
    number: int
    text: str
    seq: int
    prev: str
    document: dict[str, Any]

    @property
    def digest(self) -> str:
        return hash_line(self.text)

    def fault(self, what: str) -> _FaultError:
        return _FaultError(self.file, self.number, what)

    def with_(self, **fields: object) -> str:
        """Return the hash that the line would have with these fields."""
        return hash_line(json.dumps({**self.document, **fields}))


def verify(
    lines: Iterable[tuple[str, int, bytes]],
    check: CheckSignature,
    *,
    trusted: frozenset[str] | None = None,
    against: Iterable[ChainLink] = (),
) -> Report:
    """Check lines, each given with its file's name and its number there, without its newline.

    `trusted` are the fingerprints of the keys that may sign (None: any). `against` are the verified
    checkpoints of another copy (`read_checkpoints`); the lines that they confirm must be here.
    """
    looking = _Verification(check, trusted, tuple(against))
    try:
        looking.run(_parsed(lines))
    except _FaultError as error:
        looking.report.fault = error.fault
    return looking.report


def read_checkpoints(
    lines: Iterable[tuple[str, int, bytes]],
    check: CheckSignature,
    *,
    trusted: frozenset[str] | None = None,
) -> list[ChainLink]:
    """Return the links that the correctly signed checkpoints among these lines claim."""
    links = []
    for file, number, text in lines:
        try:
            line = _parse(file, number, text)
        except _FaultError:
            continue
        if line.document.get("kind") == EventKind.AUDIT_CHECKPOINT:
            link, key = _signed(line, check)
            if link is not None and key is not None and (trusted is None or key in trusted):
                links.append(link)
    return links


class _Verification:
    def __init__(
        self, check: CheckSignature, trusted: frozenset[str] | None, against: tuple[ChainLink, ...]
    ) -> None:
        self.report = Report()
        self._check = check
        self._trusted = trusted
        self._against = against
        self._wanted = {link.seq for link in against}
        self._digests: dict[int, str] = {}
        self._kept: dict[int, str] = {}
        """The digests of the lines that `against` names, by number."""
        self._before: _Line | None = None
        self._last: _Line | None = None

    def run(self, lines: Iterator[_Line | _FaultError]) -> None:
        for line, after in _with_next(lines):
            if isinstance(line, _FaultError):
                raise line
            known = self._digests.get(line.seq)
            if known is not None and known == line.digest:
                self.report.repeated += 1
                continue
            if self._last is None:
                self.report.first = line.seq
                self.report.from_start = line.prev == NOTHING
            else:
                self._compare(self._last, line, after if isinstance(after, _Line) else None)
            self._accept(line)
        self._compare_others()

    def _compare(self, last: _Line, line: _Line, after: _Line | None) -> None:
        """Check that `line` follows `last`. Raises _FaultError."""
        if line.prev != last.digest:
            raise self._explain(last, line, after)
        if line.seq <= last.seq:
            raise line.fault(f"seq {line.seq} comes after seq {last.seq}")

    def _explain(self, last: _Line, line: _Line, after: _Line | None) -> _FaultError:
        before = self._before
        if after is not None and after.prev == last.digest and after.seq > last.seq:
            if line.prev == after.digest:
                return line.fault(
                    f"seq {line.seq} is out of order: it comes before seq {after.seq}"
                )
            return line.fault(f"seq {line.seq} was inserted")
        if before is not None and line.prev == before.digest:
            return last.fault(f"seq {last.seq} was inserted")
        if after is not None and after.prev == line.with_(prev=last.digest):
            return line.fault(
                f"seq {line.seq} was changed: its `prev` is not that of seq {last.seq}"
            )
        if before is not None and line.prev == last.with_(seq=before.seq + 1):
            return last.fault(f"seq {last.seq} was changed: it was seq {before.seq + 1}")
        if line.seq <= last.seq:
            return line.fault(f"seq {line.seq} is out of order: it comes after seq {last.seq}")
        if line.seq > last.seq + 1:
            return line.fault(
                f"lines between seq {last.seq} and seq {line.seq} are missing, or seq {last.seq} "
                "was changed"
            )
        return last.fault(f"seq {last.seq} was changed: the line after it has another hash of it")

    def _accept(self, line: _Line) -> None:
        if line.document.get("kind") == EventKind.AUDIT_CHECKPOINT:
            self._confirm(line)
        self._before, self._last = self._last, line
        self.report.lines += 1
        self.report.last = line.seq
        self._digests[line.seq] = line.digest
        if line.seq in self._wanted:
            self._kept[line.seq] = line.digest
        if len(self._digests) > REMEMBERED:
            del self._digests[next(iter(self._digests))]

    def _confirm(self, line: _Line) -> None:
        link, key = _signed(line, self._check)
        if link is None:
            raise line.fault(f"seq {line.seq} is not a checkpoint as the gateway writes it")
        if key is None:
            raise line.fault(f"the signature of the checkpoint seq {line.seq} is wrong")
        if self._trusted is not None and key not in self._trusted:
            raise line.fault(
                f"the checkpoint seq {line.seq} is signed by {key}, not by a key given"
            )
        if link.seq >= self.report.first and self._last is not None:
            known = self._digests.get(link.seq)
            if known != link.digest:
                since = max(self.report.confirmed + 1, self.report.first)
                raise line.fault(
                    f"the lines from seq {since} to seq {link.seq} are not those that the checkpoint seq "
                    f"{line.seq} signs"
                )
            self.report.confirmed = link.seq
        self.report.keys[key] = self.report.keys.get(key, 0) + 1

    def _compare_others(self) -> None:
        last = self._last
        for link in self._against:
            if last is None or link.seq > last.seq:
                where = last or _Line("the export", 0, "", 0, "", {})
                raise where.fault(
                    f"it ends with seq {where.seq}, and a checkpoint elsewhere speaks of seq {link.seq}: the "
                    "end was cut off, or is not written yet"
                )
            known = self._kept.get(link.seq)
            if link.seq >= self.report.first and known != link.digest:
                raise last.fault(f"seq {link.seq} is not the one that a checkpoint elsewhere signs")
            self.report.confirmed = max(self.report.confirmed, link.seq if known else 0)


def _signed(line: _Line, check: CheckSignature) -> tuple[ChainLink | None, str | None]:
    """Return the link that a checkpoint claims, and the key that signed it."""
    fields = line.document.get("fields")
    claim = claim_of(fields) if isinstance(fields, dict) else None
    if claim is None or claim.seq >= line.seq:
        return None, None
    assert isinstance(fields, dict), "it has a claim"
    signature = fields.get("signature")
    key = check(make_statement(claim), signature) if isinstance(signature, str) else None
    return claim, key if key == fields.get("key") else None


def _parsed(lines: Iterable[tuple[str, int, bytes]]) -> Iterator[_Line | _FaultError]:
    for file, number, text in lines:
        try:
            yield _parse(file, number, text)
        except _FaultError as error:
            yield error


def _parse(file: str, number: int, text: bytes) -> _Line:
    broken = _FaultError(file, number, "this line was changed: it is not as the gateway writes it")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise broken from None
    if not isinstance(document, dict) or json.dumps(document).encode() != text:
        raise broken
    seq, prev = document.get("seq"), document.get("prev")
    if type(seq) is not int or not isinstance(prev, str):
        raise broken
    return _Line(file, number, text.decode(), seq, prev, document)


def _with_next(
    lines: Iterator[_Line | _FaultError],
) -> Iterator[tuple[_Line | _FaultError, _Line | _FaultError | None]]:
    held: _Line | _FaultError | None = None
    for line in lines:
        if held is not None:
            yield held, line
        held = line
    if held is not None:
        yield held, None
