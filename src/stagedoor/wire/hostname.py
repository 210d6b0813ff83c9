"""Is a Host header (RFC 9110 §7.2) one of the names that a site is known by?

A page of somebody else's whose name is made to lead here (DNS rebinding) is of our origin for the
browser, but what it sends bears that name. So names are listed; an address needs no list, since no
page of another site can have it for its own.
"""

import re
from ipaddress import ip_address

from stagedoor.model.source import is_address

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_THIS_MACHINE = "localhost"


def name_in(host: str) -> str | None:
    """The name or address in a Host header, in lower case and without its port; None: it is none."""
    found = _HOST.fullmatch(host)
    return found["name"].lower().rstrip(".") if found is not None else None


def is_known(host: str, names: frozenset[str], domain: str | None = None) -> bool:
    """Return True if the Host header `host` is an address, localhost, or a name as `is_named` takes it."""
    name = name_in(host)
    if name is None:
        return False
    return name == _THIS_MACHINE or names_address(name) or is_named(host, names, domain)


def is_named(host: str, names: frozenset[str], domain: str | None = None) -> bool:
    """Return True if the Host header `host` is one of `names`, or `domain` or below it.

    A name that begins with `*.` stands for each name of one label more (RFC 9525 §6.3).
    """
    name = (name_in(host) or "").strip("[]")
    if name in names or f"*.{name.partition('.')[2]}" in names:
        return True
    return domain is not None and (name == domain or name.endswith(f".{domain}"))


def is_loopback(host: str) -> bool:
    """Return True if the Host header `host` is localhost or an address of this machine's own network."""
    name = name_in(host) or ""
    if names_address(name):
        return ip_address(name.strip("[]")).is_loopback
    return name == _THIS_MACHINE


def names_address(name: str) -> bool:
    """Whether what `name_in` returned is an address of IPv4 or, in brackets, of IPv6."""
    return is_address(name[1:-1] if name.startswith("[") else name)
