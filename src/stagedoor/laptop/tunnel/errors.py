"""The errors of the laptop's programs: exit codes, and lines for a person on stderr."""

from __future__ import annotations

import sys

OK, USAGE = 0, 2
UNREACHABLE, TLS, NOT_PROXY, NO_ANSWER, CREDENTIAL, FORBIDDEN = 10, 11, 12, 13, 14, 15
NO_SHELL, BUSY, START_TIMEOUT, REFUSED, VIA, LOST = 16, 17, 18, 19, 20, 21
INTERNAL, INTERRUPTED = 70, 130
EXITS = {
    OK: "the tunnel ended in order, or the socket was passed to ssh",
    USAGE: "the command line, a STAGEDOOR_… variable or a proxy variable is wrong",
    UNREACHABLE: "the gateway's name does not resolve, or nothing answers there",
    TLS: "TLS with the gateway failed, its certificate included",
    NOT_PROXY: "what answered is not an HTTP proxy",
    NO_ANSWER: "the gateway hung up or fell silent before its answer was complete",
    CREDENTIAL: "407: no credential, a refused one, or one that could not be read",
    FORBIDDEN: "403: this target is not for you",
    NO_SHELL: "404 or 502: no such app, or its shell does not answer or refuses all logins",
    BUSY: "429 or 503, after three tries",
    START_TIMEOUT: "504: the shell did not start or answer in time",
    REFUSED: "any other refusal",
    VIA: "the corporate proxy in front of the gateway refused",
    LOST: "the connection was lost after the tunnel was open",
    INTERNAL: "a fault in this program",
    INTERRUPTED: "interrupted (Ctrl-C)",
}

REASON_LIMIT = 500  # characters of a refusal's reason that are shown
LINE_LIMIT = 1000  # characters of any line that is shown


class TunnelError(Exception):
    """An error with an exit code, and a `line` for the person: what happened, and how to fix it."""

    def __init__(self, code: int, line: str) -> None:
        super().__init__(line)
        self.code = code
        self.line = line


def clean(text: str, limit: int = LINE_LIMIT) -> str:
    """Return one printable line: control, format and bidi characters become `?`, blanks collapse."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else "?" for c in line)[:limit]


def show(text: str) -> bool:
    """Write to stderr; return False if that fails. A closed stderr must not end the tunnel."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        return False
    return True
