"""The last entry of X-Forwarded-For: who spoke to the reverse proxy that added it.

There is no standard for it. Proxies write an address, or an address and a port (Azure's Application
Gateway, IIS), an IPv6 address in brackets or bare. `unknown` (squid) and a made-up name as in RFC 7239
§6.3 are nobody's address.
"""

import re

from stagedoor.model.source import Source

_BRACKETED = re.compile(r"\[(?=[^\]]*:)([0-9A-Fa-f:.]{2,45})\](?::([0-9]{1,5}))?")
_V4_AND_PORT = re.compile(r"([0-9.]{7,15})(?::([0-9]{1,5}))?")
_BARE_V6 = re.compile(r"([0-9A-Fa-f:.]{2,45})()")
_MOST_PORTS = 65535


def last_forwarded(shown: list[str]) -> Source | None:
    """Read the header's lines, in order; `shown` has one at least. None if the last entry is no address.

    The port is 0 where none is said. Entries before the last are not looked at: anybody can write them.
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
