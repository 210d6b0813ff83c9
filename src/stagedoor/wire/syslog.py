"""Syslog messages (RFC 5424), framed by octet counting (RFC 5425 §4.3, RFC 6587 §3.4.1). Pure."""

import re
from datetime import UTC, datetime

AUTHPRIV = 10
"""The facility (RFC 5424 §6.2.1, table 1) to which sshd(8) logs logins; not every account can read it."""

WARNING, INFORMATIONAL = 4, 6
"""Severities (RFC 5424 §6.2.1, table 2)."""

_NOT_PRINTED = re.compile(r"[^!-~]", re.ASCII)


def frame(text: str, *, severity: int, at: float, host: str, message_id: str) -> bytes:
    """Return one message with its length. `text` is ASCII; `at` is seconds since the epoch.

    In `host` (at most 255 characters) and `message_id` (32), characters that RFC 5424 §6 does not allow
    become `_`.
    """
    priority = AUTHPRIV * 8 + severity
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    head = f"<{priority}>1 {when} {_word(host, 255)} stagedoor - {_word(message_id, 32)} - "
    message = (head + text).encode()
    return b"%d %s" % (len(message), message)


def _word(text: str, limit: int) -> str:
    return _NOT_PRINTED.sub("_", text)[:limit] or "-"
