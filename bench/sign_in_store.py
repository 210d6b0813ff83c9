"""The cost of a CONNECT with 10 and with 10,000 sign-ins of machines in the store.

    .venv/bin/python bench/sign_in_store.py [--quick] [--page docs/performance-login.md]

Two gateways of one worker use SQLite, and two a PostgreSQL server: one of each has 10 sign-ins of machines in
its store, the other 10,000 of 1,000 users. They take turns, with a password (which a worker caches for a
while) and with the secret of a login (which is looked up each time). It prints a table in Markdown; --page
writes it between the marks of a page.
"""

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.fixtures.people import open_machine, sign_in
from tests.store.server import server_here

from load.logins import logins
from load.upstream import upstream
from markdown import hand_out, options
from measure import raise_open_files
from peers import NAME, Door
from stagedoor.admin.service import AdminService, open_service
from stagedoor.keys.files import format_public_line, make_key
from stagedoor.model.identity import Identity, Method
from stagedoor.settings.file import load_settings
from stagedoor.settings.store_location import StoreServer
from stagedoor.store import people
from stagedoor.wire.ssh.key import PublicKey, parse_public_key
from stores import Side, gateway

FEW, MANY = 10, 10_000
OF_A_USER = 10
ROUNDS, CONNECTS = 12, 1000
HEAD = "| store | by | {few} sign-ins, µs | {many:,} sign-ins, µs | more, % | at most |"
RULE = "|---|---|---:|---:|---:|---:|"


@dataclass
class Filler:
    """A function that logs `count` machines in, and one of the user who connects, whose secret it keeps."""

    count: int
    secret: str = ""

    def __call__(self, file: Path) -> None:
        """Fill the store of the gateway with these settings."""
        with open_service(load_settings(file)) as service:
            for number in range(self.count // OF_A_USER):
                name = f"user{number}"
                with service.change("user.add") as change:
                    people.add_user(change.transaction, name, frozenset(), None, time.time())
                self._log_in(service, name, OF_A_USER)
            self.secret = self._log_in(service, NAME, 1)

    def _log_in(self, service: AdminService, name: str, count: int) -> str:
        now = time.time()
        identity = Identity(name, frozenset(), Method.SSO, "Company")
        by = sign_in(service.database, identity, now)
        secret = ""
        with service.change("login") as change:
            for _ in range(count):
                key = parse_public_key(format_public_line(make_key()))
                assert isinstance(key, PublicKey)
                secret, _ = open_machine(
                    change.transaction,
                    by,
                    now,
                    fingerprint=key.fingerprint,
                    public_key=key.line,
                )
        return secret


@dataclass
class Pair:
    """Two gateways on one kind of store."""

    store: str
    few: tuple[Side, Filler]
    many: tuple[Side, Filler]


@contextlib.contextmanager
def pairs(folder: Path, port: int, many: int) -> Iterator[list[Pair]]:
    """Run the gateways on both kinds of store."""
    with server_here() as here, contextlib.ExitStack() as stack:

        def start(name: str, store: StoreServer | None, count: int) -> tuple[Side, Filler]:
            filler = Filler(count)
            side = gateway(folder, f"{name}{count}", port, store, filler)
            stack.callback(side.process.stop)
            return side, filler

        yield [
            Pair(name, *(start(name, store(), count) for count in (FEW, many)))
            for name, store in (("SQLite", lambda: None), ("PostgreSQL", here.database))
        ]


def cost_us(side: Side, filler: Filler, by: str, count: int) -> float:
    """Return the CPU time of the gateway for each CONNECT, in microseconds."""
    door = side.door
    if by == "login":
        door = Door(door.address, door.target, filler.secret)
    before, _ = side.cpu_s()
    logins(door, count, 1)
    return (side.cpu_s()[0] - before) / count * 1e6


def compare(pair: Pair, by: str, rounds: int, count: int) -> str:
    """Measure both gateways in turn, each first as often as last; return a row of the table.

    The first round warms up.
    """
    few, many = [], []
    for number in range(rounds + 1):
        turns = [(few, pair.few), (many, pair.many)]
        for values, (side, filler) in turns if number % 2 else reversed(turns):
            value = cost_us(side, filler, by, count)
            if number:
                values.append(value)
    # Each pair was measured one right after the other, so other load of the machine is in both.
    more = [(b / a - 1) * 100 for a, b in zip(few, many, strict=True)]
    shown = f"{statistics.median(few):,.0f} | {statistics.median(many):,.0f}"
    return f"| {pair.store} | {by} | {shown} | {statistics.median(more):+.1f} | 5 |"


def main() -> None:
    """Run the benchmark."""
    given = options(__doc__, "a few of it")
    many = MANY // 10 if given.quick else MANY
    rounds, count = (2, 200) if given.quick else (ROUNDS, CONNECTS)
    raise_open_files()
    busy = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory(prefix="stagedoor-bench-") as folder,
        upstream() as port,
        pairs(Path(folder), port, many) as both,
    ):
        lines = [
            HEAD.format(few=FEW, many=many),
            RULE,
            *(compare(pair, by, rounds, count) for pair in both for by in ("password", "login")),
        ]
    hand_out(lines, busy, given.page, "sign_in_store")


if __name__ == "__main__":
    main()
