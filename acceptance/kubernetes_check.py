"""`script/demo --kubernetes --check`: the same access methods; gateway and shells are on a cluster."""

import asyncio
import json
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

from acceptance import features, forwards, jump, webshell
from acceptance import kubernetes_apps as apps
from acceptance.check import (
    OTHERS,
    Row,
    denial_rows,
    entry_rows,
    feature_rows,
    leaving_rows,
    run_row,
    run_rows,
    through,
)
from acceptance.kubernetes import House, housed
from acceptance.kubernetes_tools import say
from acceptance.verdict import Result, expect
from stagedoor.demo.client_files import APPS, USER
from stagedoor.demo.stage import stagedoor_command
from stagedoor.model.shell import ShellState


def check(report: Callable[[Result], None]) -> list[Result]:
    """Drive all rows; `report` is told each result as soon as it is known.

    Raises StagedoorError when the cluster, the images or the release do not come up.
    """
    with housed(*OTHERS) as house:
        say("checking the access methods")
        before = _serving(house)
        # Alone, so that the time is that of a shell that has to be started first.
        cold = run_row(
            Row("the first login starts the shell", partial(_first, house)), house.folder / "first"
        )
        report(cold)
        with house.web() as web:
            rows = rows_of(house, web)
            results = [cold, *asyncio.run(run_rows(rows, house.folder, report))]
        last = Row("the serving pods are as they were", lambda _: _untouched(house, before))
        results.append(run_row(last, house.folder / "last"))
        report(results[-1])
    return results


def rows_of(house: House, web: str) -> list[Row]:
    """What needs no order among itself, in the order of the table. `web` is where the web is answered."""
    app = f"{APPS[0]}.{house.place}.svc.cluster.local"
    return [
        *entry_rows(house),
        Row("the shell has the app's environment", lambda _: _environment(house)),
        *feature_rows(house, features.ELSEWHERE),
        Row(
            "LocalForward to the app's Service",
            lambda _: forwards.service_forward(through(house), app, 80),
        ),
        Row(
            "DynamicForward to the app's Service",
            lambda _: forwards.service_socks(through(house), app, 80),
        ),
        *(Row(name, drive) for name, drive in jump.drives(house.configs.jump, near=False).items()),
        *(Row(name, drive) for name, drive in _webshell(house, web).items()),
        Row("app list shows the shell", lambda _: _listed(house)),
        *denial_rows(house),
        *leaving_rows(house, house.desk),
    ]


def _webshell(house: House, url: str) -> dict[str, webshell.Drive]:
    def link() -> str:
        return house.desk.command("web-link", USER, "--app", APPS[0], "--url", url).strip()

    return webshell.drives(stagedoor_command(), url, house.login, link)


def _first(house: House, folder: Path) -> None:
    features.login(through(house), folder)


def _environment(house: House) -> None:
    names = [*apps.ENVIRONMENT, *apps.SECRET]
    # The app's own shell splits nothing here: each value is one line.
    command = "; ".join(f'echo "$({shlex.join(["printenv", name])})"' for name in names)
    shown = through(house).ssh(command)
    expect(shown.code == 0, f"it ended with {shown.code}: {shown.said}")
    app = house.in_apps("exec", f"deploy/{APPS[0]}", "--", "sh", "-c", command)
    expect(len(app.splitlines()) == len(names), "the app's environment has other lines")
    expect(shown.stdout.decode() == app, f"the shell has {shown.stdout!r}, the app {app!r}")


def _listed(house: House) -> str:
    found = {row["app"]: row for row in house.desk.json("app", "list")}
    expect(set(APPS) <= found.keys(), f"it lists {sorted(found)}")
    state = str(found[APPS[0]]["state"])
    expect(state == ShellState.READY, f"{APPS[0]}'s shell is {state} by its list")
    return state


def _serving(house: House) -> dict[str, int]:
    """The apps' own pods, which serve, and how often each was restarted."""
    selector = f"app in ({','.join(APPS)})"
    pods = json.loads(house.in_apps("get", "pods", "-l", selector, "-o", "json"))["items"]
    return {
        pod["metadata"]["uid"]: sum(
            one["restartCount"] for one in pod["status"].get("containerStatuses", [])
        )
        for pod in pods
    }


def _untouched(house: House, before: dict[str, int]) -> str:
    after = _serving(house)
    expect(len(before) == len(APPS), f"there were {len(before)} pods, not {len(APPS)}")
    expect(before == after, f"there were {before}, now there are {after}")
    return f"{len(after)} pods"
