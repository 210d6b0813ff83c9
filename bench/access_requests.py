"""The time from an approval until a stock ssh that waits for it continues, and the cost of waiting.

    .venv/bin/python bench/access_requests.py [--quick]

It counts from the commit in the store to ssh's line "access granted": at one gateway on SQLite, and at the
second of two on a PostgreSQL server (`tests/store/server.py`), each of one worker, where the approval is
committed by the other's administrator. Then as many logins wait in one worker as may, and it counts the
processor time of that gateway, without them and with them. It prints a table in Markdown and the machine's
load.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.access.test_flood import STRANGERS, wait_there
from tests.fixtures.gateway import PASSWORD, SSH_TABLE, Gateway, local, static
from tests.fixtures.laptop import new_key, public, write_ssh_config
from tests.store.server import PostgresqlHere

from markdown import HEAD, hand_out, options, row
from measure import cpu_s, tree
from stagedoor.admin import service as admin
from stagedoor.admin.requests import access_requests as requests
from stagedoor.admin.requests.request_service import MAX_WAITING, MAX_WAITING_PER_USER
from stagedoor.model.access_request import RequestRule

APPROVALS, WAITING_S = 40, 60.0
RULE = RequestRule(0, "user:dev", "own", approvers=("user:bob",))


@contextmanager
def open_gateways(folder: Path, count: int, key: Path, store: str = "") -> Iterator[list[Gateway]]:
    """Yield gateways on one store, where `dev` with `key` may ask for the app `own`."""
    with ExitStack() as stack:
        gateways = []
        for number in range(count):
            place = folder / f"{count}.{number}"
            place.mkdir()
            settings = SSH_TABLE + local("own") + store
            gateways.append(stack.enter_context(Gateway(place, settings)))
        with gateways[0].service() as service:
            admin.add_user(service, "dev")
            admin.add_user(service, "bob")
            admin.add_keys(service, "dev", [public(key)])
            requests.add_rule(service, RULE)
        yield [gateway.start() for gateway in gateways]


def read_until(ssh: "subprocess.Popen[bytes]", pattern: bytes) -> re.Match[bytes]:
    """Read what ssh writes to stderr until it matches."""
    assert ssh.stderr is not None
    said = b""
    while (match := re.search(pattern, said)) is None:
        piece = os.read(ssh.stderr.fileno(), 4096)
        assert piece, said
        said += piece
    return match


def measure(approving: Gateway, waiting: Gateway, key: Path, count: int) -> list[float]:
    """Return the milliseconds of each approval at one gateway, for an ssh that waits at another."""
    config = write_ssh_config(waiting.folder / "config", key, "SetEnv STAGEDOOR_REASON=INC-1")
    command = ["ssh", "-F", config, "-p", str(waiting.port("ssh")), "own@127.0.0.1", "true"]
    took = []
    with approving.service() as service:
        for _ in range(count):
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as ssh:
                number = int(read_until(ssh, rb"request (\d+) waits for")[1])
                requests.decide(service, number, approver="bob", is_yes=True)
                began = time.perf_counter()
                read_until(ssh, rb"access granted")
                took.append((time.perf_counter() - began) * 1e3)
            assert ssh.returncode == 0
            requests.leave_request(service, number)
            with service.database.write() as transaction:  # a user may ask twelve times in an hour
                transaction.exec_driver_sql("UPDATE access_requests SET created_at = 0")
            waiting.wait_for_policy()
    return took


def measure_waiting(folder: Path, seconds: float) -> str:
    """Return a line about the processor time that logins take while they wait."""
    rule = replace(RULE, subject="group:strangers", app_pattern="*")
    folder.mkdir()
    with Gateway(folder, static("jumped", 1)) as gateway, ExitStack() as waiting:
        with gateway.service() as service:
            admin.add_user(service, "bob")
            for name in STRANGERS:
                admin.add_user(service, name, groups=["strangers"], password=PASSWORD)
            requests.add_rule(service, rule)
        port = gateway.start().port("tunnel")
        assert gateway.process is not None
        processes = tree(gateway.process.pid)

        def measure_share() -> float:
            before = cpu_s(processes)
            time.sleep(seconds)  # the time is the measurement here
            return (cpu_s(processes) - before) / seconds * 100

        idle = measure_share()
        for name in STRANGERS * MAX_WAITING_PER_USER:
            assert wait_there(waiting, port, name)
        busy = measure_share()
    return (
        f"{MAX_WAITING} logins that wait in one worker take {busy - idle:.2f} % of a core, which takes "
        f"{idle:.2f} % without them; 1,000 wait in five workers (aim: 5 %)."
    )


def main() -> None:
    """Run the benchmark."""
    given = options(__doc__, "a tenth of it")
    count = APPROVALS // (10 if given.quick else 1)
    busy, lines = os.getloadavg()[0], [*HEAD]
    here = PostgresqlHere().make()
    try:
        with tempfile.TemporaryDirectory() as named:
            folder = Path(named)
            key = new_key(folder / "key")
            with open_gateways(folder, 1, key) as [gateway]:
                took = measure(gateway, gateway, key, count)
                lines.append(row("approval, one gateway on SQLite", took, "ms", ""))
            server = here.filled()
            store = f'[store]\nurl = "{server.url}"\npassword_file = "{server.password_file}"\n'
            with open_gateways(folder, 2, key, store) as [first, second]:
                took = measure(first, second, key, count)
                lines.append(row("approval, two gateways on PostgreSQL", took, "ms", ""))
            lines += [
                "",
                measure_waiting(folder / "waiting", WAITING_S / (10 if given.quick else 1)),
            ]
    finally:
        here.destroy()
    hand_out(lines, busy, given.page, "access_requests")


if __name__ == "__main__":
    main()
