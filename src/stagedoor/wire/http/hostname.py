"""Checks of a Host header (RFC 9110 §7.2) against the names of a site.

With DNS rebinding, a foreign page makes its own name resolve to the gateway. The browser then treats
both as one origin, but its requests carry the foreign name. So names are listed. An address needs no
list, because no page of another site can have it as its own.
"""

import re
from ipaddress import ip_address

from stagedoor.model.source import is_address

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_THIS_MACHINE = "localhost"


def parse_host(host: str) -> str | None:
    """Return the name or address in a Host header, in lower case and without its port; None if invalid."""
    match = _HOST.fullmatch(host)
    return match["name"].lower().rstrip(".") if match is not None else None


def is_known(host: str, names: frozenset[str], domain: str | None = None) -> bool:
    """Return True if the Host header `host` is an address, localhost, or a name accepted by `is_named`."""
    name = parse_host(host)
    if name is None:
        return False
    return name == _THIS_MACHINE or names_address(name) or is_named(host, names, domain)


def is_named(host: str, names: frozenset[str], domain: str | None = None) -> bool:
    """Return True if the Host header `host` is one of `names`, or is `domain` or below it.

    A name that begins with `*.` stands for every name with one more label (RFC 9525 §6.3).
    """
    name = (parse_host(host) or "").strip("[]")
    if name in names or f"*.{name.partition('.')[2]}" in names:
        return True
    return domain is not None and (name == domain or name.endswith(f".{domain}"))


def is_loopback(host: str) -> bool:
    """Return True if the Host header `host` is localhost or a loopback address."""
    name = parse_host(host) or ""
    if names_address(name):
        return ip_address(name.strip("[]")).is_loopback
    return name == _THIS_MACHINE


def names_address(name: str) -> bool:
    """Return True if a result of `parse_host` is an address: IPv4, or IPv6 in brackets."""
    return is_address(name[1:-1] if name.startswith("[") else name)
