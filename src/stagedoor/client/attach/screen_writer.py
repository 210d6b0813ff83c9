"""The terminal's output and notices on the screen, and its people in the window's title."""

from __future__ import annotations

import os

from stagedoor.client.attach.attachment import Attachment
from stagedoor.client.attach.request import AttachRequest
from stagedoor.client.attach.screen import Screen
from stagedoor.client.attach.secret_prompt import AttachError
from stagedoor.laptop.tunnel.errors import clean
from stagedoor.wire.terminal.frames import IdentityLevel, Mode, NoticeKind, People, Person
from stagedoor.wire.terminal.output_parser import OutputParser

_TYPED = ", typed last"
_MOST = 5
"""The most names in the line; further people are counted."""


class ScreenWriter:
    """A writer of one attachment's output to one screen. What a watcher sees is filtered."""

    def __init__(self, request: AttachRequest, attachment: Attachment, screen: Screen) -> None:
        self._request = request
        self._attachment = attachment
        self._screen = screen
        self._parser = OutputParser(utf8=request.utf8) if attachment.mode is Mode.WATCH else None
        self._presence = PresenceReport()

    def show(self, data: bytes) -> bytes:
        """Show output; return what was written to the screen. Raises OSError."""
        if self._parser is not None:
            data = self._parser.feed(data)
        self._screen.show(data)
        return data

    def skip(self, count: int) -> None:
        """Clear the screen for a new one, after `count` bytes that were not kept; 0 if that is unknown."""
        if self._parser is not None:
            self._parser.begin()
        self._screen.clear()
        self._request.log(
            f"{count} bytes of output were not kept" if count else "the terminal is another one"
        )

    def note(self, word: NoticeKind, text: str) -> None:
        """Show a notice. Raises AttachError for one that ends the attachment."""
        line = clean(text)
        self._request.log(f"{word.name.lower()}: {line}")
        match word:
            case NoticeKind.PROGRESS:
                if not self._attachment.window and os.isatty(2):
                    self._screen.print(f"stagedoor: {self._request.target}: {line}")
            case NoticeKind.ENDING:
                self._screen.warn(line)
            case NoticeKind.DENIED | NoticeKind.REVOKED | NoticeKind.FAULT:
                raise AttachError(line)
            case NoticeKind.DETACHED if "taken over" in text:
                raise AttachError(f"detached: {line}")
            case _:
                pass  # only the page shows RECORDED; a gateway that stops closes the line next

    def mark(self, people: People) -> None:
        """Show the people at the terminal in the title, if they have changed."""
        if (news := self._presence.report_change(people)) is not None:
            self._screen.mark(*news)


class PresenceReport:
    """A reporter of the people at a terminal that remembers its last line."""

    def __init__(self) -> None:
        self._line = ""

    def report_change(self, people: People) -> tuple[str, bool] | None:
        """Return the line for the title and whether a person has come or gone; None if nothing is new.

        The line is empty if no other person is there.
        """
        line = _line(people)
        if line == self._line:
            return None
        others = line.replace(_TYPED, "") != self._line.replace(_TYPED, "")
        self._line = line
        return clean(line), others


def _line(people: People) -> str:
    others = [person for person in people.people if person.number != people.you]
    named = [_description(person) for person in others[:_MOST]]
    if len(others) > _MOST:
        named.append(f"and {len(others) - _MOST} more")
    company = "also here: " + ", ".join(named) if others else ""
    return "; ".join(part for part in ("locked" if people.locked else "", company) if part)


def _description(person: Person) -> str:
    name = person.name or "unnamed"
    if person.known is IdentityLevel.CLAIMED and person.name:
        name = f"{person.name}?"
    if person.known is IdentityLevel.GUEST:
        name += " by link"
    if person.known is IdentityLevel.SSH:
        name = f"unverified ssh login as {person.name}" if person.name else "unverified ssh login"
    action = "watches" if person.mode is Mode.WATCH else "types"
    return f"{name} ({action}{_TYPED if person.typed else ''})"
