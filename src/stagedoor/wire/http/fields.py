"""The fields of requests that the gateway parses itself. Pure.

Any client may send them. They are Range (RFC 9110 §14), Proxy-Authorization (§11.7.2; no message about it
quotes any of it, since all of it may be secret), X-Forwarded-For, traceparent (W3C Trace Context), User-Agent
(§10.1.5) and Host (§7.2).

With DNS rebinding, a foreign page makes its own name resolve to the gateway. The browser then treats both as
one origin, but its requests carry the foreign name. So `is_known` accepts only listed names. Addresses need
no list, because no other site can have them as its name.
"""

import re
from binascii import a2b_base64
from dataclasses import dataclass
from ipaddress import ip_address

from stagedoor.model.credential import Credential, PasswordCredential, TokenCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.source import Source, is_address
from stagedoor.model.trace import TraceContext

_RANGE = re.compile(r"bytes=(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes from `first` to `last`, both included, of `size` bytes."""

    first: int
    last: int
    size: int

    @property
    def length(self) -> int:
        """Return the number of bytes in the range."""
        return self.last - self.first + 1

    @property
    def header(self) -> str:
        """Return the value of Content-Range (§14.4)."""
        return f"bytes {self.first}-{self.last}/{self.size}"


class UnsatisfiableError(ValueError):
    """Raised when the range begins after the end of the file (§15.5.17)."""


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Parse `header`, the value of Range, for a file of `size` bytes. None stands for the whole file.

    Other units and lists of several ranges are ignored, as §14.2 allows; no client of Stagedoor needs them.
    Raises UnsatisfiableError.
    """
    match = _RANGE.fullmatch((header or "").strip())
    if match is None or (not match["first"] and not match["last"]):
        return None
    if not match["first"]:
        length = int(match["last"])
        if length == 0 or size == 0:
            raise UnsatisfiableError
        return ByteRange(max(0, size - length), size - 1, size)
    first = int(match["first"])
    last = int(match["last"]) if match["last"] else size - 1
    if match["last"] and last < first:
        return None  # §14.1.1: an invalid range is ignored
    if first >= size:
        raise UnsatisfiableError
    return ByteRange(first, min(last, size - 1), size)


# RFC 6750 §2.1: b64token.
_BEARER = re.compile(rb"[A-Za-z0-9._~+/-]++=*+")
# RFC 7617 §2 forbids control characters; Latin-1's would pass through UTF-8 into a terminal.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def parse_credential(value: bytes) -> Credential | Denial:
    """Parse the header's value, without the white space around it.

    An unknown scheme is CREDENTIAL_WRONG, so that the answer's challenges list the supported schemes. A
    malformed Basic or Bearer is BAD_REQUEST: the program is wrong, not the password, and prompting for
    another password would not help.
    """
    scheme, _, rest = value.partition(b" ")
    # RFC 9110 §11.1: the scheme is case-insensitive; §11.4: one or more spaces follow it.
    match scheme.lower():
        case b"basic":
            return _parse_basic(rest.strip(b" \t"))
        case b"bearer":
            token = rest.strip(b" \t")
            if not _BEARER.fullmatch(token):
                return make_bad_request(
                    "the Bearer token is empty or has a character that no token has"
                )
            return TokenCredential(token.decode("ascii"))
        case _:
            return Denial(
                Reason.CREDENTIAL_WRONG,
                "this gateway accepts only Basic or Bearer in Proxy-Authorization",
            )


def _parse_basic(encoded: bytes) -> PasswordCredential | Denial:
    """Parse base64 of the UTF-8 of `name ":" password` (RFC 7617). Only the password may contain a colon."""
    try:
        text = a2b_base64(encoded, strict_mode=True).decode("utf-8")
    except UnicodeDecodeError:
        return make_bad_request("the Basic name and password are not UTF-8")
    except ValueError:
        return make_bad_request("the Basic credential is not base64")
    name, colon, secret = text.partition(":")
    if not colon:
        return make_bad_request("the Basic credential has no colon between name and password")
    if _CONTROL.search(text):
        return make_bad_request("the Basic name or password has a control character in it")
    return PasswordCredential(name, secret)


def make_bad_request(message: str) -> Denial:
    """Return the denial of a malformed request."""
    return Denial(Reason.BAD_REQUEST, message)


_BRACKETED = re.compile(r"\[(?=[^\]]*:)([0-9A-Fa-f:.]{2,45})\](?::([0-9]{1,5}))?")
_V4_AND_PORT = re.compile(r"([0-9.]{7,15})(?::([0-9]{1,5}))?")
_BARE_V6 = re.compile(r"([0-9A-Fa-f:.]{2,45})()")
_MAX_PORTS = 65535


def parse_last_forwarded(shown: list[str]) -> Source | None:
    """Return the address in the last entry of X-Forwarded-For, or None if that is no address.

    The field has no standard. Proxies write an address, or an address and a port (Azure's Application
    Gateway, IIS); an IPv6 address is in brackets or bare. `unknown` (squid) and an obfuscated name as in
    RFC 7239 §6.3 are no address.

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
        return source if port <= _MAX_PORTS else None
    return None


MAX_TRACEPARENT_CHARS = 512
"""The limit on a field; later versions may be longer than version 00."""
_TRACEPARENT = re.compile(
    r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII
)


def parse_traceparent(text: str) -> TraceContext | None:
    """Parse traceparent (§3.2). Return None if it is invalid: then the login begins its own trace (§4.3)."""
    match = _TRACEPARENT.fullmatch(text) if len(text) <= MAX_TRACEPARENT_CHARS else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if (
        version == "ff"
        or (version == "00" and more)
        or not (int(trace_id, 16) and int(span_id, 16))
    ):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & 1))


_MAX_AGENT_CHARS = 512
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("CriOS/", "Chrome"),
    ("Safari/", "Safari"),
)
"""The first match counts, since browsers also name others that they want to be treated like."""
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iOS"),
    ("iPad", "iPadOS"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
    ("BSD", "BSD"),
)


def describe_device(user_agent: str) -> str:
    """Return a description of a user's device, such as "Firefox on Linux" (RFC 9110 §10.1.5).

    A client may send any header, so this proves nothing. Only words from this module are returned.
    """
    shown = user_agent[:_MAX_AGENT_CHARS]
    browser = next((name for mark, name in _BROWSERS if mark in shown), "a browser")
    system = next((name for mark, name in _SYSTEMS if mark in shown), None)
    return f"{browser} on {system}" if system else browser


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
    return name == _THIS_MACHINE or is_address_host(name) or is_named(host, names, domain)


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
    if is_address_host(name):
        return ip_address(name.strip("[]")).is_loopback
    return name == _THIS_MACHINE


def is_address_host(name: str) -> bool:
    """Return True if a result of `parse_host` is an address: IPv4, or IPv6 in brackets."""
    return is_address(name[1:-1] if name.startswith("[") else name)
