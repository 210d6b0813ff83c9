"""URLs to which secrets may be sent, and which may be secrets themselves."""

import re
from urllib.parse import urlsplit

from stagedoor.model.source import is_loopback

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]*\]|[^:]*)(:[0-9]+\Z)?")


def check_secure_url(url: str) -> None:
    """Check that `url` is https, or plain http to loopback. Raises ValueError.

    On any other connection, machines on the path could read the request and forge the response.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None  # the faulty part may be the secret
    if host is None or parts.scheme not in ("https", "http") or not host:
        raise ValueError(f"{show_url(url)!r} is no URL; write https://HOST/PATH")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the URL has a user name or a password in it")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"{show_url(url)!r} has a character that no URL has")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(
            f"{show_url(url)!r} is plain http, which is for loopback only; write https"
        )


def check_issuer(url: str) -> None:
    """Check that `url` may be an issuer (OpenID Connect Discovery 1.0 §2). Raises ValueError."""
    check_secure_url(url)
    if "?" in url or "#" in url:
        raise ValueError(f"{show_url(url)!r} has a query or a fragment, which no issuer has")


def show_url(url: str) -> str:
    """Return the scheme, host and port of `url`, for people and logs.

    The rest may be a secret: a webhook's path, or the name and password before the host.
    """
    scheme, colon, rest = url.partition("://") if "://" in url else ("", "", url)
    authority, *more = re.split(r"[/?#\\]", rest, maxsplit=1)
    host = _HOST.match(authority.rpartition("@")[2])
    assert host is not None, "it matches nothing at all"
    return f"{scheme}{colon}{host[0]}{'/…' if any(more) else ''}"
