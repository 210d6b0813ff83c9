"""Syslog messages (RFC 5424), framed by counting octets (RFC 5425 §4.3, RFC 6587 §3.4.1). Pure."""

import re
from datetime import UTC, datetime

AUTHPRIV = 10
"""The facility (RFC 5424 §6.2.1, table 1) in which sshd(8) writes logins, which not every account reads."""

WARNING, INFORMATIONAL = 4, 6
"""Severities, table 2."""

_NOT_PRINTED = re.compile(r"[^!-~]", re.ASCII)


def frame(text: str, *, severity: int, at: float, host: str, message_id: str) -> bytes:
    """One message and its length. `text` is ASCII; `at` is seconds since the epoch.

    `host` (at most 255 characters) and `message_id` (32) have only what RFC 5424 §6 allows: others
    become `_`.
    """
    priority = AUTHPRIV * 8 + severity
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    head = f"<{priority}>1 {when} {_word(host, 255)} stagedoor - {_word(message_id, 32)} - "
    message = (head + text).encode()
    return b"%d %s" % (len(message), message)


def _word(text: str, limit: int) -> str:
    return _NOT_PRINTED.sub("_", text)[:limit] or "-"
