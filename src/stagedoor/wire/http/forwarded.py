"""The last entry of X-Forwarded-For: the client of the reverse proxy that added it.

The header has no standard. Proxies write an address, or an address and a port (Azure's Application
Gateway, IIS); an IPv6 address is in brackets or bare. `unknown` (squid) and an obfuscated name as in
RFC 7239 §6.3 are no address.
"""

import re

from stagedoor.model.source import Source

_BRACKETED = re.compile(r"\[(?=[^\]]*:)([0-9A-Fa-f:.]{2,45})\](?::([0-9]{1,5}))?")
_V4_AND_PORT = re.compile(r"([0-9.]{7,15})(?::([0-9]{1,5}))?")
_BARE_V6 = re.compile(r"([0-9A-Fa-f:.]{2,45})()")
_MOST_PORTS = 65535


def parse_last_forwarded(shown: list[str]) -> Source | None:
    """Return the address in the last entry of the header's lines, or None if that is no address.

    `shown` has the lines in order, at least one. The port is 0 if the entry has none. Earlier entries
    are ignored, because any client can write them.
    """
    entry = shown[-1].rpartition(",")[2].strip(" \t")
    for form in (_V4_AND_PORT, _BRACKETED, _BARE_V6):
        match = form.fullmatch(entry)
        if match is None:
            continue
        port = int(match[2] or 0)
        try:
            source = Source.of(match[1], port)
        except ValueError:
            continue
        return source if port <= _MOST_PORTS else None
    return None
