"""URLs that secrets may be sent to, and that may be secrets themselves."""

import re
from urllib.parse import urlsplit

from stagedoor.model.source import is_loopback

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]*\]|[^:]*)(:[0-9]+\Z)?")


def check_secure_url(url: str) -> None:
    """Raises ValueError unless `url` is https, or plain http to loopback.

    Elsewhere anybody on the way could read what is sent and write the answer.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None  # what is wrong may be the secret
    if host is None or parts.scheme not in ("https", "http") or not host:
        raise ValueError(f"{shown_url(url)!r} is no URL; write https://HOST/PATH")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the URL has a user name or a password in it")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"{shown_url(url)!r} has a character that no URL has")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(
            f"{shown_url(url)!r} is plain http, which is for loopback only; write https"
        )


def check_issuer(url: str) -> None:
    """Raises ValueError unless `url` may be an issuer (OpenID Connect Discovery 1.0 §2)."""
    check_secure_url(url)
    if "?" in url or "#" in url:
        raise ValueError(f"{shown_url(url)!r} has a query or a fragment, which no issuer has")


def shown_url(url: str) -> str:
    """Where `url` leads, for people and logs: its scheme, host and port. The rest may be a secret, as a
    webhook's path is, and the name and password before the host."""
    scheme, colon, rest = url.partition("://") if "://" in url else ("", "", url)
    authority, *more = re.split(r"[/?#\\]", rest, maxsplit=1)
    host = _HOST.match(authority.rpartition("@")[2])
    assert host is not None, "it matches nothing at all"
    return f"{scheme}{colon}{host[0]}{'/…' if any(more) else ''}"
