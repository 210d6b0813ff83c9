"""Host names as they are written in settings (RFC 1123 §2.1), in lower case."""

import re

_NAME = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
MAX_CHARS = 253


def valid_host_name(text: str) -> bool:
    """Whether `text` is a host name: `shell.example.com`."""
    return len(text) <= MAX_CHARS and bool(_NAME.fullmatch(text))


def valid_host_pattern(text: str) -> bool:
    """Whether `text` is a host name, or `*.` and one: `*.example.com` (RFC 9525 §6.3)."""
    return len(text) <= MAX_CHARS and valid_host_name(text.removeprefix("*."))
