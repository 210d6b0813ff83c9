"""The display of a terminal's output and notices, and of its people in the window's title."""

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
_MAX_NAMES = 5
"""The limit of names in the line. Further people are only counted."""


class ScreenWriter:
    """A writer of one attachment's output to one screen. It filters the output for a watcher."""

    def __init__(self, request: AttachRequest, attachment: Attachment, screen: Screen) -> None:
        self._request = request
        self._attachment = attachment
        self._screen = screen
        self._parser = OutputParser(utf8=request.utf8) if attachment.mode is Mode.WATCH else None
        self._presence = PresenceReport()

    def show(self, data: bytes) -> bytes:
        """Show output, and return the part that reached the screen. Raises OSError."""
        if self._parser is not None:
            data = self._parser.feed(data)
        self._screen.show(data)
        return data

    def skip(self, count: int) -> None:
        """Clear the screen after an `OutputGap` of `count` bytes."""
        if self._parser is not None:
            self._parser.begin()
        self._screen.clear()
        self._request.log(
            f"{count} bytes of output were not kept" if count else "the terminal is a new one"
        )

    def note(self, kind: NoticeKind, text: str) -> None:
        """Show a notice. Raises AttachError for one that ends the attachment."""
        line = clean(text)
        self._request.log(f"{kind.name.lower()}: {line}")
        match kind:
            case NoticeKind.PROGRESS:
                if not self._attachment.window and os.isatty(2):
                    self._screen.print(f"stagedoor: {self._request.target}: {line}")
            case NoticeKind.ENDING:
                self._screen.warn(line)
            case NoticeKind.DENIED | NoticeKind.REVOKED | NoticeKind.SIGNED_OUT | NoticeKind.FAULT:
                raise AttachError(line)
            case NoticeKind.TAKEN_OVER:
                raise AttachError(f"detached: {line}")
            case _:
                pass  # the web page alone shows RECORDED; a gateway that stops closes the connection next

    def show_people(self, people: People) -> None:
        """Show the people at the terminal in the title, if they have changed."""
        if (change := self._presence.report_change(people)) is not None:
            self._screen.show_people(*change)


class PresenceReport:
    """A reporter of changes among the people at a terminal."""

    def __init__(self) -> None:
        self._line = ""

    def report_change(self, people: People) -> tuple[str, bool] | None:
        """Return the line for the title, and True if a person has joined or left. None without a change.

        The line is empty if no other person is there.
        """
        line = _format_people(people)
        if line == self._line:
            return None
        is_announced = line.replace(_TYPED, "") != self._line.replace(_TYPED, "")
        self._line = line
        return clean(line), is_announced


def _format_people(people: People) -> str:
    others = [person for person in people.people if person.number != people.you]
    names = [_describe(person) for person in others[:_MAX_NAMES]]
    if len(others) > _MAX_NAMES:
        names.append(f"and {len(others) - _MAX_NAMES} more")
    presence = "also here: " + ", ".join(names) if others else ""
    return "; ".join(part for part in ("locked" if people.locked else "", presence) if part)


def _describe(person: Person) -> str:
    name = person.name or "unnamed"
    if person.level is IdentityLevel.CLAIMED and person.name:
        name = f"{person.name}?"
    if person.level is IdentityLevel.GUEST:
        name += " by link"
    if person.level is IdentityLevel.SSH:
        name = f"unverified ssh login as {person.name}" if person.name else "unverified ssh login"
    action = "watches" if person.mode is Mode.WATCH else "types"
    return f"{name} ({action}{_TYPED if person.typed else ''})"
