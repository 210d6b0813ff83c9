"""Notes on how a shell differs from its app, which `explain` shows. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from stagedoor.model.cluster import Object


class NoteKind(StrEnum):
    """The kinds of notes."""

    LEFT_OUT = "left out"
    CHANGED = "changed"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Note:
    """A difference between app and shell. `subject` is the part (`volume data`), `why` the reason."""

    kind: NoteKind
    subject: str
    why: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.why}"


def note_left_out(subject: str, why: str) -> Note:
    """Return a note on a part that the app has and its shell does not."""
    return Note(NoteKind.LEFT_OUT, subject, why)


def note_change(subject: str, why: str) -> Note:
    """Return a note on a part that the shell has in another form."""
    return Note(NoteKind.CHANGED, subject, why)


def note_warning(subject: str, why: str) -> Note:
    """Return a note on a part that is as in the app, but may surprise."""
    return Note(NoteKind.WARNING, subject, why)


def note_omitted(
    given: Object, prefix: str, handled: Iterable[str], reasons: Mapping[str, str]
) -> list[Note]:
    """Return notes on the fields of `given` that a shell does not have: all except the `handled` ones.

    `prefix` comes before each field's name; `reasons` maps a field to the reason why it is left out.
    """
    return [
        note_left_out(f"{prefix}{field}", reasons.get(field, "it is not known to this version"))
        for field in sorted(set(given) - set(handled))
        if given[field] not in (None, False, "", [], {})
    ]
