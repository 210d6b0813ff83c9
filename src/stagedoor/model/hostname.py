"""Lower-case names with dots: host names, and names of Kubernetes objects. Pure."""

import re

_NAME = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
MAX_CHARS = 253

SUBDOMAIN = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*"
_SUBDOMAIN = re.compile(SUBDOMAIN)


def is_valid_subdomain(text: str) -> bool:
    """Return True if `text` is a DNS subdomain as Kubernetes defines it.

    It is a host name whose labels have no length limit of their own (apimachinery
    validation.IsDNS1123Subdomain).
    """
    return len(text) <= MAX_CHARS and bool(_SUBDOMAIN.fullmatch(text))


def is_valid_host_name(text: str) -> bool:
    """Return True if `text` is a host name (RFC 1123 §2.1), such as `shell.example.com`."""
    return len(text) <= MAX_CHARS and bool(_NAME.fullmatch(text))


def is_valid_host_pattern(text: str) -> bool:
    """Return True if `text` is a host name, or `*.` before a host name: `*.example.com` (RFC 9525 §6.3)."""
    return len(text) <= MAX_CHARS and is_valid_host_name(text.removeprefix("*."))
