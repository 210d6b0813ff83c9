"""Where a store is: a file of this machine, or a PostgreSQL server. Pure."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

SCHEMES = ("postgresql", "postgres")


@dataclass(frozen=True, slots=True)
class Server:
    """A database of a PostgreSQL server.

    `url` is a connection URI as libpq takes it
    (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS), without a
    password: that is the one line of `password_file`, read at each connection; None: libpq finds
    it (PGPASSWORD, PGPASSFILE, `~/.pgpass`) or none is needed.
    """

    url: str
    password_file: Path | None = None

    def __str__(self) -> str:
        """What messages call it: who, where and which database; parameters left out."""
        return self.url.partition("?")[0]


Place = Path | Server
"""A SQLite file, or a server."""


def check_url(url: str) -> None:
    """Raises ValueError for what is no PostgreSQL URI, and for one with a password in it.

    Settings are read by many, shown in tickets and kept under version control. The message never
    repeats the URI, since what is wrong with it may be that it holds a secret.
    """
    scheme, found, rest = url.partition("://")
    if not found or scheme not in SCHEMES:
        raise ValueError("write postgresql://ROLE@HOST/DATABASE")
    if not url.isprintable() or " " in url:
        raise ValueError("a URI holds no spaces and no control characters; write %20 for a space")
    try:
        parts = urlsplit(f"//{rest}")
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError("it is no URI; write postgresql://ROLE@HOST/DATABASE") from None
    who, at, _ = parts.netloc.rpartition("@")
    names = {unquote(name).lower() for name, _ in query}
    if (at and ":" in who) or names & {"password", "sslpassword", "oauth_client_secret"}:
        raise ValueError(
            "no password may stand in it; put it into a file and name store.password_file"
        )
    if parts.fragment or "#" in url:
        raise ValueError("a '#' in a name or value is written %23")
