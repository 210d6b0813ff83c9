"""URLs that secrets may be sent to."""

from urllib.parse import urlsplit

from stagedoor.model.source import is_loopback


def check_secure_url(url: str) -> None:
    """Raises ValueError unless `url` is https, or plain http to loopback.

    Elsewhere anybody on the way could read what is sent and write the answer.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is no URL: {error}") from None
    if parts.scheme not in ("https", "http") or not host:
        raise ValueError(f"{url!r} is no URL; write https://HOST/PATH")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the URL has a user name or a password in it")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"{url!r} has a character that no URL has")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(f"{url!r} is plain http, which is for loopback only; write https")


def check_issuer(url: str) -> None:
    """Raises ValueError unless `url` may be an issuer (OpenID Connect Discovery 1.0 §2)."""
    check_secure_url(url)
    if "?" in url or "#" in url:
        raise ValueError(f"{url!r} has a query or a fragment, which no issuer has")
