"""Parsing of the addresses of the gateway and of the corporate proxy in front of it."""

from __future__ import annotations

from stagedoor.laptop.tunnel.errors import USAGE, TunnelError


class ProxyAddress:
    """The address of an HTTP proxy. `source` is the option or variable that it comes from."""

    def __init__(self, scheme: str, host: str, port: int, userinfo: str, source: str) -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.userinfo = userinfo
        self.source = source

    def __str__(self) -> str:
        return join_authority(self.host, self.port)


def join_authority(host: str, port: int) -> str:
    """Return `host:port`, with an IPv6 literal in brackets (RFC 3986 §3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def choose_first(*candidates: tuple[str | None, str]) -> tuple[str, str]:
    """Return the first (value, source) whose value is not empty, or two empty strings."""
    return next(((value, source) for value, source in candidates if value), ("", ""))


def check_host(text: str, what: str) -> str:
    """Return a host without brackets. Raises TunnelError if it is not valid in a request line."""
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not host or not all("!" <= c <= "~" and c not in "/\\@[]?#" for c in host):
        raise TunnelError(USAGE, f"{what} {text!r} is not a host name")
    return host


def check_port(text: str, what: str) -> int:
    """Return a port as a number. Raises TunnelError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise TunnelError(USAGE, f"{what} {text!r} is not a port: give 1 to 65535")
    return int(text)


def parse_address(text: str, source: str) -> ProxyAddress:
    """Parse `HOST:PORT`, `http://HOST[:PORT]` or `https://HOST[:PORT]`. Raises TunnelError."""
    scheme, slashes, rest = text.strip().partition("://")
    if not slashes:
        scheme, rest = "", text.strip()
    if scheme.lower() not in ("", "http", "https"):
        raise TunnelError(
            USAGE, f"{source} names a {scheme}:// proxy: only http:// and https:// are supported"
        )
    rest = rest[:-1] if rest.endswith("/") else rest
    userinfo, _, place = rest.rpartition("@")
    host, colon, port = place.rpartition(":")
    if not colon or "]" in port:
        host, port = place, {"http": "80", "https": "443"}.get(scheme.lower(), "")
    if not port:
        raise TunnelError(USAGE, f"{source} names no port: give HOST:PORT")
    return ProxyAddress(
        scheme.lower() or "http",
        check_host(host, source).lower(),
        check_port(port, source),
        userinfo,
        source,
    )


def parse_gateway(text: str, source: str) -> ProxyAddress:
    """Parse a gateway's address. Raises TunnelError, also for a password, which `ps` would show."""
    gateway = parse_address(text, source)
    if gateway.userinfo:
        raise TunnelError(
            USAGE, f"{source} must not hold a name or password: use --user and a token file"
        )
    return gateway


def find_corporate_proxy(
    option: str | None, gateway: ProxyAddress, env: dict[str, str]
) -> ProxyAddress | None:
    """Return the proxy in front of the gateway, chosen as curl does, or None for a direct connection.

    `HTTP_PROXY` in capitals is ignored, since the client of a CGI script can set it (httpoxy). Raises
    TunnelError.
    """
    names = ["http_proxy"] if gateway.scheme == "http" else ["https_proxy", "HTTPS_PROXY"]
    names += ["all_proxy", "ALL_PROXY"]
    candidates = [(option, "--via"), (env.get("STAGEDOOR_VIA"), "STAGEDOOR_VIA")]
    if not is_bypassed(gateway, env.get("no_proxy") or env.get("NO_PROXY") or ""):
        candidates += [(env.get(name), name) for name in names]
    text, source = choose_first(*candidates)
    if not text or text == "direct":
        return None
    via = parse_address(text, source)
    if via.scheme != "http":
        name = find_proxy_option(source)
        raise TunnelError(
            USAGE, f"{source} names an https:// proxy: {name}http://HOST:PORT, or {name}direct"
        )
    if option and via.userinfo:
        raise TunnelError(
            USAGE,
            "--via must not hold a password, which other users could read in the process list: "
            "set STAGEDOOR_VIA, or add the proxy to ~/.netrc",
        )
    return via


def find_proxy_option(source: str) -> str:
    """Return the option or variable that sets the proxy. Not all commands have the option."""
    return "--via " if source == "--via" else "STAGEDOOR_VIA="


def is_loopback(host: str) -> bool:
    """Return True for `localhost` and loopback addresses."""
    parts = host.split(".")
    is_ipv4 = len(parts) == 4 and all(part.isdigit() and len(part) <= 3 for part in parts)
    return host in ("localhost", "::1") or (is_ipv4 and parts[0] == "127")


def is_bypassed(gateway: ProxyAddress, no_proxy: str) -> bool:
    """Return True to connect without a proxy: the gateway is local, or `no_proxy` lists it.

    `no_proxy` has names, domains, addresses and networks, separated by commas.
    """
    host = gateway.host.rstrip(".")
    if is_loopback(host):
        return True
    for entry in no_proxy.lower().replace(",", " ").split():
        if "/" in entry:
            import ipaddress

            try:
                if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                    return True
            except ValueError:
                continue
        name = entry.lstrip("*").lstrip(".")
        if entry == "*" or name in (host, str(gateway)) or (name and host.endswith("." + name)):
            return True
    return False
