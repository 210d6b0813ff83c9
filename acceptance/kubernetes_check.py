"""`script/demo --kubernetes --check`: a check of the access methods with gateway and shells on a cluster."""

import asyncio
import json
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

from acceptance import features, forwards, jump, runs, webshell
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
from acceptance.kubernetes import Installation, installed
from acceptance.kubernetes_tools import say
from acceptance.verdict import Result, expect
from stagedoor.demo.clients import APPS, USER
from stagedoor.demo.gateway import find_command
from stagedoor.model.shell import ShellState


def check(report: Callable[[Result], None]) -> list[Result]:
    """Run all rows; call `report` with each result as soon as it is known.

    Raises StagedoorError when the cluster, the images or the release do not come up.
    """
    with installed(*OTHERS) as installation:
        say("checking the access methods")
        before = _serving(installation)
        # First and alone, so that its time includes the start of a shell and nothing else.
        cold = run_row(
            Row("the first login starts the shell", partial(_first, installation)),
            installation.folder / "first",
        )
        report(cold)
        with installation.web() as web:
            rows = rows_of(installation, web)
            results = [cold, *asyncio.run(run_rows(rows, installation.folder, report))]
        last = Row("the serving pods are as they were", lambda _: _untouched(installation, before))
        results.append(run_row(last, installation.folder / "last"))
        report(results[-1])
    return results


def rows_of(installation: Installation, web: str) -> list[Row]:
    """Return the rows that can run in any order, in the order of the table. `web` is the WebShell's URL."""
    app = f"{APPS[0]}.{installation.apps_namespace}.svc.cluster.local"
    return [
        *entry_rows(installation),
        Row("the shell has the app's environment", lambda _: _environment(installation)),
        *feature_rows(installation, features.ELSEWHERE),
        Row(
            "LocalForward to the app's Service",
            lambda _: forwards.service_forward(through(installation), app, 80),
        ),
        Row(
            "DynamicForward to the app's Service",
            lambda _: forwards.service_socks(through(installation), app, 80),
        ),
        *(
            Row(name, drive)
            for name, drive in jump.drives(installation.configs.jump, near=False).items()
        ),
        *(Row(name, drive) for name, drive in _webshell(installation, web).items()),
        *(Row(name, drive) for name, drive in _runs(installation, web).items()),
        Row("app list shows the shell", lambda _: _listed(installation)),
        *denial_rows(installation),
        *leaving_rows(installation, installation.desk),
    ]


def _webshell(installation: Installation, url: str) -> dict[str, webshell.Drive]:
    def link() -> str:
        return installation.desk.command("web-link", USER, "--app", APPS[0], "--url", url).strip()

    return webshell.drives(find_command(), url, installation.login, link)


def _runs(installation: Installation, url: str) -> dict[str, runs.Drive]:
    return runs.drives(installation.configs.jump, find_command(), url, installation.login)


def _first(installation: Installation, folder: Path) -> None:
    features.login(through(installation), folder)


def _environment(installation: Installation) -> None:
    names = [*apps.ENVIRONMENT, *apps.SECRET]
    # The quotes keep the shell from splitting values: each is one line.
    command = "; ".join(f'echo "$({shlex.join(["printenv", name])})"' for name in names)
    shown = through(installation).ssh(command)
    expect(shown.code == 0, f"it ended with {shown.code}: {shown.said}")
    app = installation.in_apps("exec", f"deploy/{APPS[0]}", "--", "sh", "-c", command)
    expect(len(app.splitlines()) == len(names), "the app's environment has other lines")
    expect(shown.stdout.decode() == app, f"the shell has {shown.stdout!r}, the app {app!r}")


def _listed(installation: Installation) -> str:
    listed = {row["app"]: row for row in installation.desk.json("app", "list")}
    expect(set(APPS) <= listed.keys(), f"it lists {sorted(listed)}")
    state = str(listed[APPS[0]]["state"])
    expect(state == ShellState.READY, f"{APPS[0]}'s shell is {state} by its list")
    return state


def _serving(installation: Installation) -> dict[str, int]:
    """Return the uids of the apps' serving pods, each with the number of its restarts."""
    selector = f"app in ({','.join(APPS)})"
    pods = json.loads(installation.in_apps("get", "pods", "-l", selector, "-o", "json"))["items"]
    return {
        pod["metadata"]["uid"]: sum(
            status["restartCount"] for status in pod["status"].get("containerStatuses", [])
        )
        for pod in pods
    }


def _untouched(installation: Installation, before: dict[str, int]) -> str:
    after = _serving(installation)
    expect(len(before) == len(APPS), f"there were {len(before)} pods, not {len(APPS)}")
    expect(before == after, f"there were {before}, now there are {after}")
    return f"{len(after)} pods"
