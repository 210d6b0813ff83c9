"""The speed of what the pages of administrators read: `python -m bench.console [--events N]`.

It writes an audit of N events (10⁶) over a month into an SQLite store, makes the index, and measures the
searches; then *why* and *who* on a policy of 10,000 users and 50,000 grants; then each page by HTTP, of a
gateway with that audit, 10,000 users and 30,000 grants. It prints a line for each.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import MappingProxyType

from bench.apply import write_set
from tests.fixtures.gateway import Gateway
from tests.fixtures.people import PlainBrowser

from stagedoor.admin.audit.search import search_audit
from stagedoor.admin.roles import add_role
from stagedoor.authz.explain import explain, find_entering, identify_by_name
from stagedoor.model.event import Event, EventKind
from stagedoor.model.grant import GrantRule
from stagedoor.model.permission import Permission
from stagedoor.model.policy import Policy, User
from stagedoor.model.role import Role, RoleRule
from stagedoor.model.selector import ALL_USERS
from stagedoor.model.target import Target
from stagedoor.store.database import Database, open_database
from stagedoor.store.journal import StoreJournal, read_entries
from stagedoor.store.sqlite.audit_index import FILE, AuditIndex

MONTH_S = 30 * 86400.0
NOW = 1_800_000_000.0
USERS, APPS, CALLS = 10_000, 500, 50
SEARCHES = (
    "user:user42", "user42 app7", "kind:denied", "kind:denied app:app12.production", "INC-4821",
    "from:10.1.2", "session.opened web", "user", "app:app1 kind:session.closed user:user9",
    "nosuchword",
)  # fmt: skip

PAGES = (
    "/", "/account", "/requests", "/runs", "/admin/sessions", "/admin/requests",
    "/admin/people", "/admin/people?wanted=u77", "/admin/people/u777", "/admin/grants",
    "/admin/grants?wanted=app77", "/admin/grants/777", "/admin/audit", "/admin/audit?q=u777&days=",
    "/admin/why?user=u777&app=app777", "/admin/health", "/admin/sign-ins",
    "/admin/sign-ins?kind=key&wanted=u77", "/admin/rules",
)  # fmt: skip
SETTINGS = """
[web]
addresses = ["127.0.0.1:0"]

[[shells.local]]
app = "app1"
"""


def events(count: int) -> list[Event]:
    """Return events as logins make them: opened, closed, and every tenth a refusal."""
    chance = random.Random(1)
    made = []
    for n in range(count):
        name, app = f"user{chance.randrange(USERS)}", f"app{chance.randrange(APPS)}"
        kind = (EventKind.SESSION_OPENED, EventKind.SESSION_CLOSED)[n % 2]
        fields: dict[str, str | int] = {"method": "publickey", "grant": chance.randrange(50_000)}
        if n % 10 == 9:
            kind = EventKind.SESSION_DENIED
            fields = {
                "message": f"no grant for {name!r} to enter {app} (INC-{chance.randrange(9999)})"
            }
        made.append(
            Event(
                NOW - MONTH_S + n * MONTH_S / count,
                kind,
                "w1",
                f"{n // 2:012x}",
                name,
                f"{app}.production.ssh",
                f"10.{n % 8}.{n % 250}.{n % 99}:{4000 + n % 999}",
                "web",
                fields=MappingProxyType(fields),
            )
        )
    return made


def measure(what: str, call: Callable[[], object], calls: int = CALLS) -> None:
    """Print the median and the 95th percentile of a call, in milliseconds."""
    took = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        took.append((time.perf_counter() - began) * 1000)
    took.sort()
    print(
        f"{what}: median {statistics.median(took):.1f} ms, p95 {took[int(len(took) * 0.95)]:.1f} ms"
    )


def fill(database: Database, folder: Path, count: int) -> None:
    """Write the audit, and make its index."""
    journal = StoreJournal(database)
    made = events(count)
    for at in range(0, count, 5000):
        journal.append(made[at : at + 5000])
    index = AuditIndex.open_to_write(folder)
    began = time.process_time()
    while entries := read_entries(database, after=index.last, limit=500):
        index.add(entries)
    used = time.process_time() - began
    index.close_file()
    size = (folder / FILE).stat().st_size
    print(
        f"index: {used / count * 1e6:.0f} µs of processor time and {size / count:.0f} bytes an event"
    )


def measure_pages(folder: Path, count: int) -> None:
    """Print the time of each page of a gateway with many users, grants and events."""
    with Gateway(folder, SETTINGS) as gateway:
        gateway.add_user("boss", "app1")
        gateway.permit("user:boss", "*", Permission.REPLAY)
        with gateway.service() as service:
            add_role(service, RoleRule(0, "user:boss", Role.ADMINISTRATOR))
            fill(service.database, gateway.data_dir, count)
        write_set(folder / "set", USERS, 30_000, "json")
        gateway.command("apply", str(folder / "set"))
        boss = PlainBrowser(gateway.start().port("web"))
        boss.sign_in("boss")
        for page in PAGES:
            assert boss.get(page).status == 200, page
            measure(page, partial(boss.get, page))


def main() -> None:
    """Measure all, and print it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000)
    count = parser.parse_args().events
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = open_database(folder / "stagedoor.sqlite3")
        fill(database, folder, count)
        for text in SEARCHES:
            search = partial(
                search_audit, database, folder, text, may_see=lambda _: True, since=NOW - MONTH_S
            )
            measure(f"search {text!r}", search)
        database.close()
    users = {f"user{n}": User(f"user{n}", frozenset({f"group{n % 50}"})) for n in range(USERS)}
    rules = [GrantRule(n, f"user:user{n % USERS}", f"app{n % APPS}") for n in range(1, 50_001)]
    policy = Policy(
        1, MappingProxyType(users), grants=(*rules, GrantRule(50_001, ALL_USERS, "web*"))
    )
    target = Target("app07", "production")
    measure("why", lambda: explain(policy, identify_by_name(policy, "user7"), target, NOW))
    measure("who", lambda: find_entering(policy, Target("web1"), NOW))
    with tempfile.TemporaryDirectory() as name:
        measure_pages(Path(name), count)


if __name__ == "__main__":
    main()
