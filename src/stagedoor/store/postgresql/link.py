"""A connection to a PostgreSQL server: its parameters, the server's guarantees, and detecting a dead one."""

import os
import select
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from psycopg import Connection, OperationalError
from psycopg.abc import RV, PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from stagedoor.model.errors import SettingsError, StoreError
from stagedoor.settings.safe_files import read_secret
from stagedoor.settings.store_location import StoreServer

CONNECT_TIMEOUT_S = 5
"""The time in which an address of the server has to answer: as long as a login waits for the disk."""

GRACE_S = 5.0
"""The time to wait for an answer, beyond the server's own time limit for the statement."""

_CHECK_EVERY_S = 0.1

IDLE_IN_TRANSACTION_S = 5
"""Transactions that write run one by one. If a gateway stops in the middle of one, for example because its
machine is paused, the server ends the transaction after this time, so that others can continue."""

_DEFAULTS: Mapping[str, str] = {
    "connect_timeout": str(CONNECT_TIMEOUT_S),
    "application_name": "stagedoor",
    # Among several hosts, choose the one that can be written to.
    "target_session_attrs": "read-write",
    # A server that has vanished is detected within about ten seconds, even on an idle connection.
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    # Otherwise libpq tries Kerberos first, if it finds a ticket.
    "gssencmode": "disable",
}

_LOCAL = ("localhost", "127.0.0.1", "::1", "")

# One round trip sets the time limits and reads the server's guarantees. SHOW is not allowed in an expression.
_BEGIN = """
SELECT set_config('lock_timeout', %s, false),
       set_config('statement_timeout', %s, false),
       set_config('idle_in_transaction_session_timeout', %s, false),
       set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                  WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false),
       current_setting('fsync'), current_setting('server_encoding')
"""


class PostgresqlLink(Connection[TupleRow]):
    """A connection with a bound on every wait.

    If a statement takes too long, the server's own time limits give the reason. If the server itself hangs,
    `answer_timeout_s` ends the wait, and the connection is closed, since the outcome of the statement is
    unknown.
    """

    answer_timeout_s: float = 30.0

    def wait(
        self, gen: PQGen[RV], interval: float = _CHECK_EVERY_S, timeout: float | None = None
    ) -> RV:
        """Wait as psycopg does, but not for ever. Raises psycopg.OperationalError at the time limit."""
        bound = self.answer_timeout_s if timeout is None else timeout
        try:
            return super().wait(_bounded(gen, bound), interval)
        except TimeoutError:
            self.close()
            raise OperationalError(f"the server did not answer within {bound:g} s") from None


def _bounded(gen: PQGen[RV], bound_s: float) -> PQGen[RV]:
    """Run `gen`, and raise TimeoutError if it takes longer than `bound_s`.

    psycopg sends the generator the state of its socket, or nothing every `_CHECK_EVERY_S`.
    """
    deadline = time.monotonic() + bound_s
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= deadline:
                raise TimeoutError
            wanted = gen.send(ready)
    except StopIteration as end:
        result: RV = end.value
        return result


def read_parameters(server: StoreServer) -> dict[str, Any]:
    """Return the connection parameters, by libpq's keywords. Reads the password file.

    Raises StoreError, and psycopg.ProgrammingError for a URI that libpq does not accept.
    """
    in_url = {name: value for name, value in conninfo_to_dict(server.url).items() if value}
    keywords: dict[str, Any] = {**_DEFAULTS, **in_url, "client_encoding": "utf8"}
    if "sslmode" not in in_url and "PGSSLMODE" not in os.environ and not _is_local(in_url):
        # With libpq's own default, an attacker on the network could read everything.
        keywords["sslmode"] = "verify-full"
    if server.password_file is not None:
        keywords["password"] = read_password(server.password_file)
    return keywords


def _is_local(in_url: Mapping[str, Any]) -> bool:
    """Return whether every host is on this machine: loopback, or the folder of a Unix socket."""
    if "service" in in_url or "PGSERVICE" in os.environ:
        return False  # the host is in a file that only libpq reads
    hosts = str(in_url.get("hostaddr") or in_url.get("host") or os.environ.get("PGHOST", "")).split(
        ","
    )
    return all(host in _LOCAL or host.startswith(("/", "@")) for host in hosts)


def read_password(path: Path) -> str:
    """Read the password from a private file with one line. Raises StoreError, never with the line."""
    try:
        return read_secret(path, "store.password_file", "the password")
    except SettingsError as error:
        raise StoreError(str(error)) from None


def connect(
    server: StoreServer, *, statement_timeout_s: float, lock_timeout_s: float
) -> PostgresqlLink:
    """Open a connection with no transaction. Raises StoreError, psycopg.Error."""
    link = PostgresqlLink.connect("", autocommit=True, **read_parameters(server))
    try:
        link.answer_timeout_s = statement_timeout_s + GRACE_S
        row = link.execute(
            _BEGIN,
            (
                f"{int(lock_timeout_s * 1000)}ms",
                f"{int(statement_timeout_s * 1000)}ms",
                f"{IDLE_IN_TRANSACTION_S}s",
            ),
        ).fetchone()
        assert row is not None, "a SELECT without FROM has one row"
        fsync, encoding = row[-2:]
        if fsync != "on":
            raise StoreError(
                f"the store {server}: the server runs with fsync off, so that a power cut may take "
                "what the audit has written; set fsync = on in postgresql.conf"
            )
        if encoding != "UTF8":
            raise StoreError(
                f"the store {server}: the database's encoding is {encoding}, which cannot hold every "
                "text; make one with `createdb -E UTF8 -T template0 NAME`"
            )
    except BaseException:
        link.close()
        raise
    return link


def is_stale(link: Connection[Any]) -> bool:
    """Return whether an idle connection is unusable: the server closed it, or sent an unrequested message.

    This takes one system call and no round trip. Some unrequested messages are harmless, but connecting again
    costs less than parsing them.
    """
    if link.closed:
        return True
    poll = select.poll()
    poll.register(link.fileno(), select.POLLIN)
    return bool(poll.poll(0))
