"""One connection to a PostgreSQL server: its parameters, what it must promise, and its signs of death."""

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
from stagedoor.settings.careful import read_secret
from stagedoor.settings.place import Server

CONNECT_TIMEOUT_S = 5
"""How long one address of the server may take to answer; as long as a login waits for the disk."""

GRACE_S = 5.0
"""How much longer than the server may work on a statement we wait for the answer."""

_LOOK_S = 0.1

IDLE_IN_TRANSACTION_S = 5
"""Transactions that write run one by one. One whose gateway has stopped in the middle of it, as a
machine that is paused does, is ended by the server after this time, so that the others can go on."""

_UNLESS_GIVEN: Mapping[str, str] = {
    "connect_timeout": str(CONNECT_TIMEOUT_S),
    "application_name": "stagedoor",
    # Of several hosts, the one that can be written to.
    "target_session_attrs": "read-write",
    # A server that vanished without a word is found in some ten seconds, idle or not.
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    # Else libpq asks Kerberos first, wherever it finds a ticket.
    "gssencmode": "disable",
}

_NEAR = ("localhost", "127.0.0.1", "::1", "")

# One round trip: what we need, and what the server must promise. SHOW has no place in an expression.
_BEGIN = """
SELECT set_config('lock_timeout', %s, false),
       set_config('statement_timeout', %s, false),
       set_config('idle_in_transaction_session_timeout', %s, false),
       set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                  WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false),
       current_setting('fsync'), current_setting('server_encoding')
"""


class Link(Connection[TupleRow]):
    """A connection on which nothing is waited for without a bound.

    The server's own time-outs say why a statement took too long; `answer_timeout_s` holds when the
    server itself hangs. The connection is closed then, since it is unknown what came of the statement.
    """

    answer_timeout_s: float = 30.0

    def wait(self, gen: PQGen[RV], interval: float = _LOOK_S, timeout: float | None = None) -> RV:
        """As psycopg's, with a bound. Raises psycopg.OperationalError past it."""
        bound = self.answer_timeout_s if timeout is None else timeout
        try:
            return super().wait(_bounded(gen, bound), interval)
        except TimeoutError:
            self.close()
            raise OperationalError(f"the server did not answer within {bound:g} s") from None


def _bounded(gen: PQGen[RV], bound_s: float) -> PQGen[RV]:
    """`gen`, which is told what its socket is ready for, and nothing each `_LOOK_S`, that ends in
    TimeoutError if it is not done by then.
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


def parameters(server: Server) -> dict[str, Any]:
    """What to connect with, as libpq's keywords. The password file is read here.

    Raises StoreError, and psycopg.ProgrammingError for a URI that libpq does not take.
    """
    given = {name: value for name, value in conninfo_to_dict(server.url).items() if value}
    found: dict[str, Any] = {**_UNLESS_GIVEN, **given, "client_encoding": "utf8"}
    if "sslmode" not in given and "PGSSLMODE" not in os.environ and not _near(given):
        # libpq's own default lets anybody in between read all of it.
        found["sslmode"] = "verify-full"
    if server.password_file is not None:
        found["password"] = read_password(server.password_file)
    return found


def _near(given: Mapping[str, Any]) -> bool:
    """Whether every host is this machine's: loopback, or a Unix socket's folder."""
    if "service" in given or "PGSERVICE" in os.environ:
        return False  # the host stands in a file that libpq reads
    hosts = str(given.get("hostaddr") or given.get("host") or os.environ.get("PGHOST", "")).split(
        ","
    )
    return all(host in _NEAR or host.startswith(("/", "@")) for host in hosts)


def read_password(path: Path) -> str:
    """The one line of a file that not everybody may read. Raises StoreError, never with the line."""
    try:
        return read_secret(path, "store.password_file", "the password")
    except SettingsError as error:
        raise StoreError(str(error)) from None


def connect(server: Server, *, statement_timeout_s: float, lock_timeout_s: float) -> Link:
    """A connection outside any transaction. Raises StoreError, psycopg.Error."""
    link = Link.connect("", autocommit=True, **parameters(server))
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


def stale(link: Connection[Any]) -> bool:
    """Whether an idle connection is of no more use: the server has said something unasked, or hung up.

    Costs a system call, no round trip. Some of what servers say unasked is harmless; to connect
    again then costs less than to find out.
    """
    if link.closed:
        return True
    poll = select.poll()
    poll.register(link.fileno(), select.POLLIN)
    return bool(poll.poll(0))
