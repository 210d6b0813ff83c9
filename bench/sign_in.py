"""The cost of a sign-in for each ssh, and the time until its end closes its sessions.

    .venv/bin/python bench/sign_in.py [--quick] [--page docs/performance-login.md]

Two gateways of one worker each share a PostgreSQL server (`tests/store/server.py`). It measures, in
wall and CPU time: the command that ssh runs before each connection while the certificate is valid (the
`Match exec` line), the renewal of a certificate, and the time from the end of a sign-in until a session
by each access method at each gateway is closed. It prints a table in Markdown and the machine's load;
--page writes it between the marks of a page.
"""

import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.fixtures.gateway import Gateway
from tests.login.everywhere import SignIn, two_gateways
from tests.login.laptop import BareLaptop, new_laptop
from tests.login.machine import Person
from tests.store.server import PostgresqlHere

from markdown import HEAD, hand_out, options, row
from measure import cpu_s, tree

ASKED, RENEWED, ENDS = 300, 60, 25


def run_timed(command: list[str], env: Mapping[str, str]) -> tuple[float, float]:
    """Run a command, which must succeed; return its wall and CPU time in milliseconds, children included."""
    began = time.perf_counter()
    pid = os.posix_spawn(command[0], command, env)
    _, status, used = os.wait4(pid, 0)
    assert status == 0, command
    return (time.perf_counter() - began) * 1e3, (used.ru_utime + used.ru_stime) * 1e3


def exec_line(laptop: BareLaptop) -> str:
    """Return the command that ssh gives to the person's shell."""
    text = (laptop.folder / "ssh_config").read_text()
    match = re.search(r'^Match .* exec "(.*)"$', text, re.MULTILINE)
    assert match, text
    return match.group(1).replace("%%", "%")


def measure_valid(laptop: BareLaptop, count: int) -> list[tuple[float, float]]:
    """Measure the command with a valid certificate; return wall and CPU milliseconds of each run."""
    line = exec_line(laptop)
    (laptop.folder / "fresh_until").write_text("99999999999\n")
    return [run_timed(["/bin/sh", "-c", line], laptop.env) for _ in range(count)]


def measure_renewals(
    laptop: BareLaptop, gateway: Gateway, count: int
) -> tuple[list[tuple[float, float]], float]:
    """Measure renewals; return the client's wall and CPU milliseconds, and the gateway's CPU for each."""
    line = exec_line(laptop)
    assert gateway.process is not None
    took, ours = [], 0.0
    for _ in range(count):
        (laptop.folder / "fresh_until").write_text("0\n")
        before = cpu_s(tree(gateway.process.pid))
        took.append(run_timed(["/bin/sh", "-c", line], laptop.env))
        ours += cpu_s(tree(gateway.process.pid)) - before
        time.sleep(0.5)  # a person's certificates are limited; see `admin.certificates.user_signer`
    return took, ours / count * 1e3


def measure_ends(folder: Path, gateways: list[Gateway], count: int) -> list[float]:
    """Measure the ends of sign-ins; return the seconds until each session was closed."""
    took: list[float] = []
    for number in range(count):
        sign_in = SignIn(folder / f"sign-in{number}", gateways[number % 2])
        try:
            for gateway in gateways:
                gateway.wait_for_policy()
                sign_in.open_at(gateway)
            took += sign_in.end().values()
        finally:
            sign_in.close()
    return took


def main() -> None:
    """Run the benchmark."""
    given = options(__doc__, "a tenth of it")
    part = 10 if given.quick else 1
    busy = os.getloadavg()[0]
    here = PostgresqlHere().make()
    lines = [*HEAD]
    try:
        with (
            tempfile.TemporaryDirectory() as named,
            two_gateways(Path(named), here.database()) as gateways,
        ):
            folder, base = Path(named), f"http://127.0.0.1:{gateways[0].port('web')}"
            laptop = new_laptop(folder, base)
            laptop.log_in(Person(base).sign_in())
            valid = measure_valid(laptop, ASKED // part)
            client, ours = measure_renewals(laptop, gateways[0], RENEWED // part)
            lines += [
                row("certificate is good, clock", [wall for wall, _ in valid], "ms", "p95 40"),
                row("certificate is good, processor", [cpu for _, cpu in valid], "ms", ""),
                row("renewal, clock", [wall for wall, _ in client], "ms", "150"),
                row("renewal, the client's processor", [cpu for _, cpu in client], "ms", ""),
                f"| renewal, the gateway's processor | {len(client)} | {ours:.1f} | | | ms | |",
                row("end of a sign-in", measure_ends(folder, gateways, ENDS // part), "s", "p99 5"),
            ]
    finally:
        here.destroy()
    hand_out(lines, busy, given.page, "sign_in")


if __name__ == "__main__":
    main()
