"""The errors of the laptop's programs: exit codes, and lines on stderr."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

OK, USAGE = 0, 2
UNREACHABLE, TLS, NOT_PROXY, NO_ANSWER, CREDENTIAL, FORBIDDEN = 10, 11, 12, 13, 14, 15
NO_SHELL, BUSY, START_TIMEOUT, REFUSED, VIA, LOST, ON_REQUEST = 16, 17, 18, 19, 20, 21, 22
INTERNAL, INTERRUPTED = 70, 130
EXITS = {
    OK: "the tunnel ended normally, or the socket was passed to ssh",
    USAGE: "the command line, a STAGEDOOR_… variable or a proxy variable is wrong",
    UNREACHABLE: "the gateway's name does not resolve, or nothing answers there",
    TLS: "TLS with the gateway failed, or its certificate is not trusted",
    NOT_PROXY: "the server that answered is not an HTTP proxy",
    NO_ANSWER: "the gateway hung up or fell silent before its answer was complete",
    CREDENTIAL: "407: the credential is missing, was refused, or could not be read",
    FORBIDDEN: "403: you may not enter this target",
    NO_SHELL: "404 or 502: no such app, or its shell does not answer or refuses all logins",
    BUSY: "429 or 503, after three tries",
    START_TIMEOUT: "504: the shell did not start or answer in time",
    REFUSED: "any other refusal",
    VIA: "the corporate proxy in front of the gateway refused the connection",
    LOST: "the connection was lost after the tunnel was open",
    ON_REQUEST: "access must be requested, and there is no terminal to type a reason",
    INTERNAL: "a fault in this program",
    INTERRUPTED: "interrupted (Ctrl-C)",
}

REASON_LIMIT = 500  # characters of a refusal's reason that are shown
LINE_LIMIT = 1000  # characters of any line that is shown


class TunnelError(Exception):
    """An error with an exit code, and a `line` that says what happened and how to fix it.

    `retry_s` is the wait in seconds that a busy gateway requests before the next attempt.
    """

    def __init__(self, code: int, line: str, retry_s: float = 0.0) -> None:
        super().__init__(line)
        self.code = code
        self.line = line
        self.retry_s = retry_s


def clean(text: str, limit: int = LINE_LIMIT) -> str:
    """Return `text` as one printable line. Other characters become `?`, and runs of white space one space."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else "?" for c in line)[:limit]


def translate(text: str, more: Mapping[str, str] | None = None) -> str:
    """Return a program's lines in the language of the locale (`LC_ALL`, `LC_MESSAGES`, `LANG`).

    This includes the gateway's lines, since it answers programs in English. `more` has the texts of one
    command.
    """
    from stagedoor.wire.language.choose import CHINESE, choose_by_locale

    if choose_by_locale(os.environ) != CHINESE:
        return text
    from stagedoor.wire.language.chinese.laptop import LAPTOP
    from stagedoor.wire.language.chinese.refusals import REFUSALS
    from stagedoor.wire.language.chinese.shells import SHELLS
    from stagedoor.wire.language.translate import Catalogue

    return Catalogue({**REFUSALS, **SHELLS, **LAPTOP, **(more or {})}).translate_output(text)


def show(text: str) -> bool:
    """Write lines to stderr in the user's language. Return False, without an error, if stderr is closed."""
    try:
        sys.stderr.write(translate(text))
        sys.stderr.flush()
    except (OSError, ValueError):
        return False
    return True
