"""What a shell has otherwise than its app, as values that `explain` shows. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from stagedoor.model.cluster import Object


class NoteKind(StrEnum):
    """What a note tells."""

    LEFT_OUT = "left out"
    CHANGED = "changed"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Note:
    """One difference between app and shell: `subject` is the part (`volume data`), `why` a phrase."""

    kind: NoteKind
    subject: str
    why: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.why}"


def left_out(subject: str, why: str) -> Note:
    """The app has it, its shell does not."""
    return Note(NoteKind.LEFT_OUT, subject, why)


def changed(subject: str, why: str) -> Note:
    """The shell has it in another form."""
    return Note(NoteKind.CHANGED, subject, why)


def warning(subject: str, why: str) -> Note:
    """As in the app, but it may surprise."""
    return Note(NoteKind.WARNING, subject, why)


def unnamed(
    given: Object, prefix: str, dealt_with: Iterable[str], reasons: Mapping[str, str]
) -> list[Note]:
    """Notes about the fields that a shell does not have."""
    return [
        left_out(f"{prefix}{field}", reasons.get(field, "it is not known to this version"))
        for field in sorted(set(given) - set(dealt_with))
        if given[field] not in (None, False, "", [], {})
    ]
