"""`script/demo --check`: a check of every access method with the real clients that are installed here."""

import asyncio
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from acceptance import doors, features, jump, machine_login, runs, webshell
from acceptance.clients import CLIENTS, FDPASS, TUNNEL, ProxyClient
from acceptance.cuts import cut_network, upgrade_gateway
from acceptance.reach import Reach, reach
from acceptance.verdict import FailedError, NotHereError, Result, need
from stagedoor.demo.clients import ClientFiles, DemoLogin, DemoUser
from stagedoor.demo.gateway import DemoGateway, find_command, run_demo
from stagedoor.model.errors import StagedoorError

AT_ONCE = 4
"""How many rows run at once. They mostly wait for processes, but more would only queue."""
GUEST = DemoUser("guest")
EVICTED = DemoUser("evicted", ("app02",))
REVOKED = DemoUser("revoked", ("app02",))
ASKER = DemoUser("asker", on_request=("app02",))
OTHERS = (GUEST, EVICTED, REVOKED, ASKER)
"""The users that the check needs besides the developer."""


@dataclass(frozen=True)
class Row:
    """A row of the table. `drive` gets an empty folder; a text that it returns becomes the row's remark."""

    name: str
    drive: Callable[[Path], object]
    slow: bool = False
    """Started before the other rows, since it takes longest."""


async def check(report: Callable[[Result], None]) -> list[Result]:
    """Run all rows; call `report` with each result in the rows' order, as soon as it is known.

    Raises StagedoorError when the gateway cannot start or is stopped before the end.
    """
    async with run_demo(*OTHERS) as (demo, supervisor):
        ended = asyncio.create_task(supervisor.wait())
        try:
            return await run_rows(rows_of(demo), demo.folder, report, ended)
        finally:
            ended.cancel()


async def run_rows(
    rows: list[Row],
    folder: Path,
    report: Callable[[Result], None],
    ended: asyncio.Task[None] | None = None,
) -> list[Result]:
    """Run the rows, `AT_ONCE` at the same time. Raises StagedoorError if `ended` is done before they are."""
    loop = asyncio.get_running_loop()
    watched = () if ended is None else (ended,)
    results: list[Result] = []
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="check") as pool:
        running = {
            row.name: loop.run_in_executor(pool, run_row, row, folder / f"row{number}")
            for number, row in sorted(enumerate(rows), key=lambda pair: not pair[1].slow)
        }
        try:
            for row in rows:
                result = running[row.name]
                await asyncio.wait((result, *watched), return_when=asyncio.FIRST_COMPLETED)
                if not result.done():
                    raise StagedoorError("stopped before the check was over")
                results.append(result.result())
                report(result.result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return results


def rows_of(demo: DemoGateway) -> list[Row]:
    """Return all rows in the order of the table."""
    desk = doors.Desk(find_command(), demo.settings_file)
    return [
        *entry_rows(demo),
        *feature_rows(demo, tuple(features.FEATURES)),
        Row("ssh through a network that is cut for 5 s", partial(_cut, demo), slow=True),
        Row("ssh through an upgrade of the gateway", partial(_upgrade, demo, desk), slow=True),
        *(Row(name, drive) for name, drive in jump.drives(demo.configs.jump).items()),
        *(Row(name, drive) for name, drive in _webshell(demo).items()),
        *(Row(name, drive) for name, drive in _runs(demo).items()),
        Row("stagedoor login, ssh alone, its end", partial(_bare_machine, demo, desk), slow=True),
        *denial_rows(demo),
        *leaving_rows(demo, desk),
        Row("access on request: asked for and approved", partial(_ask_access, demo, desk)),
    ]


def _webshell(demo: DemoGateway) -> dict[str, webshell.Drive]:
    return webshell.drives(
        find_command(), demo.web, demo.login, lambda: demo.make_web_link("app01")
    )


def _runs(demo: DemoGateway) -> dict[str, runs.Drive]:
    return runs.drives(demo.configs.jump, find_command(), demo.web, demo.login)


def _bare_machine(demo: DemoGateway, desk: doors.Desk, folder: Path) -> str:
    machine = machine_login.BareMachine(folder / "home", find_command(), demo.web)
    return machine_login.drive(machine, demo.login.user, demo.login.password, desk)


def _ask_access(demo: DemoGateway, desk: doors.Desk, folder: Path) -> str:
    login = demo.logins[ASKER.name]
    return doors.check_requested(through(demo, TUNNEL, login, "app02.ssh"), desk)


def entry_rows(entrance: ClientFiles) -> list[Row]:
    """Return the rows of a login by each client."""
    return [
        *(Row(client.name, partial(_login, entrance, client)) for client in CLIENTS),
        Row("one-file script (--print-script)", partial(_script, entrance)),
        Row("a token in the password's place", partial(_token, entrance)),
    ]


def feature_rows(entrance: ClientFiles, names: tuple[str, ...]) -> list[Row]:
    """Return rows for features of `features.FEATURES`, used through our own client."""
    return [Row(name, partial(_feature, entrance, name)) for name in names]


def denial_rows(entrance: ClientFiles) -> list[Row]:
    """Return the rows of requests that the gateway must refuse, by CONNECT."""
    denials = _denials(entrance.login, entrance.logins[GUEST.name])
    return [Row(f"refused: {name}", partial(_request, ask)) for name, ask in denials.items()]


def leaving_rows(entrance: ClientFiles, desk: doors.Desk) -> list[Row]:
    """Return the rows of sessions that the gateway must close."""
    evicted, revoked = (entrance.logins[person.name] for person in (EVICTED, REVOKED))
    return [
        Row(
            "session list, close",
            lambda _: doors.check_evicted(
                through(entrance, TUNNEL, evicted, "app02.ssh"), evicted, desk
            ),
            slow=True,
        ),
        Row(
            "grant remove closes what it covered",
            lambda _: doors.check_revoked(
                through(entrance, TUNNEL, revoked, "app02.ssh"), revoked, desk
            ),
            slow=True,
        ),
    ]


def _denials(login: DemoLogin, guest: DemoLogin) -> dict[str, Callable[[], str]]:
    app = "app01.ssh"
    return {
        "no credential": lambda: doors.check_refused(login, app, 22, 407, ""),
        "a wrong password": lambda: doors.check_refused(login, app, 22, 407, "not the password"),
        "no grant": lambda: doors.check_refused(guest, app, 22, 403),
        "a foreign host name": lambda: doors.check_refused(login, "www.example.com", 22, 403),
        "an IP literal": lambda: doors.check_refused(login, "127.0.0.1", 22, 403),
        "another port": lambda: doors.check_refused(login, app, 23, 403),
    }


def through(
    entrance: ClientFiles,
    client: ProxyClient = FDPASS,
    login: DemoLogin | None = None,
    host: str = "app01.ssh",
) -> Reach:
    """Return the connection to a shell by a client."""
    base = entrance.configs.base
    return reach(client, login or entrance.login, base, host, near=entrance.near)


def _login(entrance: ClientFiles, client: ProxyClient, folder: Path) -> None:
    features.login(through(entrance, client), folder)


def _feature(entrance: ClientFiles, name: str, folder: Path) -> object:
    return features.FEATURES[name](through(entrance), folder)


def _cut(entrance: ClientFiles, folder: Path) -> str:
    return cut_network(through(entrance, TUNNEL), folder)


def _upgrade(entrance: ClientFiles, desk: doors.Desk, folder: Path) -> str:
    return upgrade_gateway(through(entrance), desk)


def _request(ask: Callable[[], str], _: Path) -> str:
    return ask()


def _script(entrance: ClientFiles, folder: Path) -> None:
    """Log in by our client as one file, run by a Python without Stagedoor."""
    need("python3")
    script = folder / "tun.py"
    with script.open("wb") as file:
        subprocess.run([*find_command(), "tunnel", "--print-script"], stdout=file, check=True)
    tunnel = ("python3", "-I", str(script))
    login = replace(entrance.login, folder=folder, tunnel=tunnel)
    features.login(through(entrance, TUNNEL, login), folder)


def _token(entrance: ClientFiles, folder: Path) -> str:
    """Log in by a token in place of the password, since stock clients only know passwords."""
    here = [client for client in CLIENTS if client.program and not client.missing]
    if not here:
        packages = [client.package for client in CLIENTS if client.package]
        raise NotHereError("no stock client is installed, see above", packages=packages[:1])
    token = entrance.login.token_file.read_text(encoding="utf-8").strip()
    login = replace(entrance.login, folder=folder, password=token)
    features.login(through(entrance, here[0], login), folder)
    return f"by {here[0].name}"


def run_row(row: Row, folder: Path) -> Result:
    """Run a row and return its result; never raise."""
    began = time.monotonic()
    try:
        folder.mkdir()
        remark = row.drive(folder)
        ok, why = True, remark if isinstance(remark, str) else ""
    except NotHereError as error:
        return Result(row.name, None, str(error), time.monotonic() - began, error.packages)
    except FailedError as error:
        ok, why = False, str(error)
    except Exception as error:  # a fault of the check itself fails its row and not the others
        ok, why = False, f"{type(error).__name__}: {error}"
    return Result(row.name, ok, why, time.monotonic() - began)
