"""The terminal's output and notices on the screen, and its people in the window's title."""

from __future__ import annotations

import os

from stagedoor.client.attach.attachment import Attachment
from stagedoor.client.attach.presence import PresenceReport
from stagedoor.client.attach.request import AttachRequest
from stagedoor.client.attach.screen import Screen
from stagedoor.client.attach.secret_prompt import AttachError
from stagedoor.laptop.tunnel.errors import clean
from stagedoor.wire.terminal.frames import Mode, NoticeKind, People
from stagedoor.wire.terminal.output_parser import OutputParser


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
            case NoticeKind.DENIED | NoticeKind.REVOKED | NoticeKind.FAULT:
                raise AttachError(line)
            case NoticeKind.DETACHED if "taken over" in text:
                raise AttachError(f"detached: {line}")
            case _:
                pass  # only the page shows RECORDED; a gateway that stops closes the line next

    def mark(self, people: People) -> None:
        """Show the people at the terminal in the title, if they have changed."""
        if (news := self._presence.news(people)) is not None:
            self._screen.mark(*news)
