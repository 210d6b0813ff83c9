"""A page whose line leads past the gateway, to a program in a pseudoterminal here.

The page is the real one, served by the gateway: its script, its xterm.js, its answers. In place of its
WebSocket it gets one that hands each frame to the test. So whatever it draws is what this emulator makes of
the program's own bytes, and what a page on the real line draws otherwise is the line's doing.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from acceptance.chromium import Browser, Tab
from stagedoor.wire.terminal.codec import decode, encode
from stagedoor.wire.terminal.frames import (
    MAX_DATA_BYTES,
    Frame,
    Hello,
    In,
    InAck,
    Out,
    Ping,
    Pong,
    Resize,
    Welcome,
)
from tests.fixtures.terminal import Console

_SOCKET = """
window.WebSocket = class {
  static OPEN = 1;
  readyState = 1;
  constructor() {
    window.aside = this;
    queueMicrotask(() => this.onopen());
  }
  send(frame) { window.said(btoa(String.fromCharCode(...frame))); }
  close() { this.readyState = 3; }
  hear(text) { this.onmessage({data: Uint8Array.from(atob(text), each => each.charCodeAt(0)).buffer}); }
};
"""


class Aside(Tab):
    """The other end of the line of whatever page is opened next in a tab. `carry` is to be called
    for as long as something is to come through."""

    def __init__(self, browser: Browser, tab: Tab, command: Sequence[str]) -> None:
        self._command = command
        self._said: list[Frame] = []
        self._console: Console | None = None
        self._shown = self._taken = 0
        page = tab.call("Target.getTargetInfo")["targetInfo"]["targetId"]
        super().__init__(f"ws://127.0.0.1:{browser.port}/devtools/page/{page}")
        self.call("Runtime.addBinding", name="said")
        self.call("Page.addScriptToEvaluateOnNewDocument", source=_SOCKET)

    def carry(self) -> None:
        """Return what the page has said to the program, and what that has shown meanwhile to the page."""
        self.ask("0")  # what was said before its answer has come before it
        while self._said:
            self._take(self._said.pop(0))
        if self._console is not None:
            shown = self._console.shown
            for at in range(self._shown, len(shown), MAX_DATA_BYTES):
                self._tell(Out(at, shown[at : at + MAX_DATA_BYTES]))
            self._shown = len(shown)

    @property
    def shown(self) -> bytes:
        """All that the program has shown."""
        return b"" if self._console is None else self._console.shown

    def end(self) -> None:
        """The program ends; the page stays as it is."""
        if self._console is not None:
            self._console.close()
        self.close()

    def _take(self, frame: Frame) -> None:
        match frame:
            case Hello(size=size):
                self._console = Console(self._command, size.columns, size.rows)
                self._tell(Welcome("aside", 0, 0, 1 << 20))
            case Resize(size) if self._console is not None:
                self._console.resize(size.columns, size.rows)
            case In(at, data) if self._console is not None:
                self._console.type(data)
                self._taken = at + len(data)
                self._tell(InAck(self._taken))
            case Ping(number):
                self._tell(Pong(number))

    def _tell(self, frame: Frame) -> None:
        self.ask(f"aside.hear({json.dumps(base64.b64encode(encode(frame)).decode())})")

    def _handle(self, said: dict[str, Any]) -> None:
        if said.get("method") == "Runtime.bindingCalled":
            self._said.append(decode(base64.b64decode(said["params"]["payload"])))
        super()._handle(said)


@contextmanager
def aside(browser: Browser, tab: Tab, command: Sequence[str]) -> Iterator[Aside]:
    new_aside = Aside(browser, tab, command)
    try:
        yield new_aside
    finally:
        new_aside.end()
