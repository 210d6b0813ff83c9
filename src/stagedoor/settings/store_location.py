"""The location of a store: a file on this machine, or a PostgreSQL server. Pure."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

SCHEMES = ("postgresql", "postgres")


@dataclass(frozen=True, slots=True)
class StoreServer:
    """A database of a PostgreSQL server.

    `url` is a connection URI for libpq without a password
    (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS). The password
    is the one line of `password_file`, read at each connection; if that is None, libpq finds it
    (PGPASSWORD, PGPASSFILE, `~/.pgpass`) or none is needed.
    """

    url: str
    password_file: Path | None = None

    def __str__(self) -> str:
        """Return the server's name for messages: role, host and database, without parameters."""
        return self.url.partition("?")[0]


StoreLocation = Path | StoreServer
"""A SQLite file, or a server."""


def check_server_url(url: str) -> None:
    """Raise ValueError if `url` is no PostgreSQL URI, or contains a password.

    Settings are read by many people, shown in tickets and kept under version control. The message
    never repeats the URI, which may hold a secret.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError("write postgresql://ROLE@HOST/DATABASE")
    if not url.isprintable() or " " in url:
        raise ValueError("a URI has no spaces and no control characters; write %20 for a space")
    try:
        parts = urlsplit(f"//{rest}")
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError("it is not a URI; write postgresql://ROLE@HOST/DATABASE") from None
    role, at, _ = parts.netloc.rpartition("@")
    names = {unquote(name).lower() for name, _ in query}
    if (at and ":" in role) or names & {"password", "sslpassword", "oauth_client_secret"}:
        raise ValueError(
            "it must not contain a password; put that into a file, and name it in store.password_file"
        )
    if parts.fragment or "#" in url:
        raise ValueError("a '#' in a name or value is written %23")
