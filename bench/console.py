"""The speed of what the pages of administrators read: `python -m bench.console [--events N]`.

It writes an audit of N events (10⁶) over a month into an SQLite store, makes the index, and measures the
searches; then *why* and *who* on a policy of 10,000 users and 50,000 grants; then each page by HTTP, of a
gateway with that audit, 10,000 users and 30,000 grants. It prints a line for each, and exits with 1 if a page
took longer than 300 ms or a search longer than 200 ms (p95). With --pages it measures the pages alone.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from bench.apply import write_set
from tests.fixtures.gateway import Gateway
from tests.fixtures.people import PlainBrowser

from stagedoor.admin.audit.search import search_audit
from stagedoor.admin.roles import add_role
from stagedoor.audit.opening import make_first_id
from stagedoor.authz.admissions import find_entering, identify_by_name
from stagedoor.authz.explain import explain
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
PAGE_MS, SEARCH_MS = 300.0, 200.0
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
    "/admin/sign-ins?kind=key&wanted=u77", "/admin/rules", "/recordings", "/admin/audit?days=&q=kind:denied",
    "/admin/grants/preview?subject=group:everyone&app=*&permission=enter",
)  # fmt: skip
SETTINGS = """
[web]
addresses = ["127.0.0.1:0"]

[[shells.local]]
app = "app1"
"""


def events(count: int, user: str = "user") -> Iterator[Event]:
    """Yield events as logins make them: opened, closed, and every tenth a refusal."""
    chance = random.Random(1)
    for n in range(count):
        name, app = f"{user}{chance.randrange(USERS)}", f"app{chance.randrange(APPS)}"
        kind = (EventKind.SESSION_OPENED, EventKind.SESSION_CLOSED)[n % 2]
        fields: dict[str, str | int] = {"method": "publickey", "grant": chance.randrange(50_000)}
        if n % 10 == 9:
            kind = EventKind.SESSION_DENIED
            fields = {
                "message": f"no grant for {name!r} to enter {app} (INC-{chance.randrange(9999)})"
            }
        yield Event(
            NOW - MONTH_S + n * MONTH_S / count,
            kind,
            "w1",
            f"{make_first_id(NOW - MONTH_S + n // 2 * 2 * MONTH_S / count)}{n // 2:015x}",
            name,
            f"{app}.production.ssh",
            f"10.{n % 8}.{n % 250}.{n % 99}:{4000 + n % 999}",
            "web",
            fields=MappingProxyType(fields),
        )


def measure(what: str, call: Callable[[], object], bound_ms: float, calls: int = CALLS) -> bool:
    """Print the median and p95 of a call, in ms. Return whether p95 is within the bound."""
    took = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        took.append((time.perf_counter() - began) * 1000)
    return report(what, took, bound_ms)


def report(what: str, took: list[float], bound_ms: float) -> bool:
    """Print the median and p95 of times in ms. Return whether p95 is within the bound."""
    took = sorted(took)
    slow = took[int(len(took) * 0.95)]
    late = "" if slow <= bound_ms else f": MORE THAN {bound_ms:.0f} ms"
    print(f"{what}: median {statistics.median(took):.1f} ms, p95 {slow:.1f} ms{late}", flush=True)
    return slow <= bound_ms


def fill(database: Database, folder: Path, count: int, user: str = "user") -> None:
    """Write the audit, and make its index."""
    journal = StoreJournal(database)
    made = events(count, user)
    while piece := list(islice(made, 5000)):
        journal.append(piece)
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


def measure_pages(folder: Path, count: int) -> bool:
    """Print the time of each page of a gateway with much of all. Return whether all are in time."""
    with Gateway(folder, SETTINGS) as gateway:
        gateway.add_user("boss", "app1")
        gateway.permit("user:boss", "*", Permission.REPLAY)
        with gateway.service() as service:
            add_role(service, RoleRule(0, "user:boss", Role.ADMINISTRATOR))
            fill(service.database, gateway.data_dir, count, "u")
        write_set(folder / "set", USERS, 30_000, "json")
        gateway.command("apply", str(folder / "set"))
        boss = PlainBrowser(gateway.start().port("web"))
        boss.sign_in("boss")
        in_time = []
        for page in PAGES:
            answer = boss.get(page)
            assert answer.status == 200, page
            size = len(answer.text) // 1024
            in_time.append(measure(f"{page} ({size} KiB)", partial(boss.get, page), PAGE_MS))
        return all(in_time)


def measure_searches(folder: Path, count: int) -> bool:
    """Print the time of each search of the audit. Return whether all are in time."""
    database = open_database(folder / "stagedoor.sqlite3")
    fill(database, folder, count)
    in_time = []
    for text in SEARCHES:
        search = partial(
            search_audit, database, folder, text, may_see=lambda _: True, since=NOW - MONTH_S
        )
        in_time.append(measure(f"search {text!r}", search, SEARCH_MS))
    database.close()
    return all(in_time)


def measure_policy() -> bool:
    """Print the time of *why* and *who*. Return whether both are in time."""
    users = {f"user{n}": User(f"user{n}", frozenset({f"group{n % 50}"})) for n in range(USERS)}
    rules = [GrantRule(n, f"user:user{n % USERS}", f"app{n % APPS}") for n in range(1, 50_001)]
    policy = Policy(
        1, MappingProxyType(users), grants=(*rules, GrantRule(50_001, ALL_USERS, "web*"))
    )
    target, user = Target("app07", "production"), identify_by_name(policy, "user7")
    why = measure("why", lambda: explain(policy, user, target, NOW), PAGE_MS)
    return measure("who", lambda: find_entering(policy, Target("web1"), NOW), PAGE_MS) and why


def main() -> int:
    """Measure all, and print it. Return 1 if something took too long."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--pages", action="store_true", help="measure the pages alone")
    options = parser.parse_args()
    in_time = []
    if not options.pages:
        with tempfile.TemporaryDirectory() as name:
            in_time.append(measure_searches(Path(name), options.events))
        in_time.append(measure_policy())
    with tempfile.TemporaryDirectory() as name:
        in_time.append(measure_pages(Path(name), options.events))
    return 0 if all(in_time) else 1


if __name__ == "__main__":
    sys.exit(main())
