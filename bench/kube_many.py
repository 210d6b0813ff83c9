"""A controller of many apps: its cost while nothing happens, and the time until it has seen them all.

etcd and kube-apiserver are real, the apps simulated.
"""

import asyncio
import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.kube.api.lone import LoneApi
from tests.kube.apps import deployment

from kube_starts import reach, say
from stagedoor.model.cluster import Kind
from stagedoor.serve.prepare import prepare
from stagedoor.settings.file import load_settings
from stagedoor.shells.kubernetes.derive import objects

Costs = dict[str, dict[str, float]]


def measure(folder: Path, apps: int, idle_s: float) -> Costs:
    """Measure a controller of so many apps, each idle phase for `idle_s` seconds.

    The result has `none` and `all` (no app and all apps have a shell), `starts` and `restart`.
    """
    (folder / "lone").mkdir()
    api = LoneApi(folder / "lone")
    try:
        asyncio.run(_fill(api.kubeconfig(), apps))
        with controller(folder, api.kubeconfig()) as running:
            running.until(lambda m: m["apps"] == apps)
            time.sleep(5)
            idle = running.cost(idle_s)
            say(f"idle with {apps} apps: {idle}")
            asyncio.run(_knock(api.kubeconfig(), apps))
            running.until(lambda m: m["shells"] == apps)
            time.sleep(5)
            busy = running.cost(idle_s)
            started = running.metrics()
        with controller(folder, api.kubeconfig()) as running:
            took = running.until(lambda m: m.get("Keep", 0) >= apps)
            again = running.metrics()
        return {
            "none": idle,
            "all": busy,
            "starts": {"s": started["reconcile_seconds"], "requests": started["requests"]},
            "restart": {"s": took, "requests": again["requests"]},
        }
    finally:
        api.close()


async def _fill(kubeconfig: Path, apps: int) -> None:
    cluster = reach(kubeconfig)
    await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps"}})
    room = asyncio.Semaphore(8)

    async def one(number: int) -> None:
        async with room:
            await cluster.apply(deployment("apps", f"app{number:04}", replicas=1))

    await asyncio.gather(*(one(number) for number in range(apps)))
    await cluster.close_connections()


async def _knock(kubeconfig: Path, apps: int) -> None:
    cluster = reach(kubeconfig)
    for app in await cluster.list(Kind.DEPLOYMENT, "apps", "stagedoor.dev/shell=true"):
        await cluster.create(objects.build_lease(app, "bench", time.time()))
    await cluster.close_connections()


class Running:
    """A controller in its own process, observed by its metrics and /proc."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self._process = process
        self._url = f"http://127.0.0.1:{port}/metrics"

    @property
    def pid(self) -> int:
        """The controller's process."""
        return self._process.pid

    def metrics(self) -> dict[str, float]:
        """Return metrics by name without prefix; decisions by the decision, `requests` as one sum.

        Of the namespaces there are `served` and `unserved`. Raises OSError.
        """
        metrics: dict[str, float] = {"requests": 0}
        with urllib.request.urlopen(self._url, timeout=10) as page:
            for line in page.read().decode().splitlines():
                match = re.fullmatch(
                    r"stagedoor_controller_([a-z_]+?)(?:_total)?(?:\{(.*)\})? (\S+)", line
                )
                if match is None:
                    continue
                name, labels, value = match[1], match[2] or "", float(match[3])
                if name == "requests":
                    metrics["requests"] += value
                elif name == "namespaces":
                    metrics["served" if 'synced="true"' in labels else "unserved"] = value
                elif name == "decisions":
                    metrics[labels.partition('"')[2].rstrip('"')] = value
                else:
                    metrics[name] = value
        return metrics

    def until(self, true: Any) -> float:
        """Wait until `true` holds for the metrics; return the seconds since the controller began to lead.

        Raises RuntimeError if the controller has ended.
        """
        led_at: float | None = None
        while True:
            with contextlib.suppress(OSError):
                metrics = self.metrics()
                if metrics.get("leading") and led_at is None:
                    led_at = time.monotonic()
                if led_at is not None and true(metrics):
                    return time.monotonic() - led_at
            if (code := self._process.poll()) is not None:
                raise RuntimeError(f"the controller ended with code {code}")
            time.sleep(0.02)

    def cost(self, seconds: float) -> dict[str, float]:
        """Observe the controller for so many seconds; return its requests, CPU time and memory."""
        before, cpu = self.metrics()["requests"], self._cpu_s()
        time.sleep(seconds)
        minutes = seconds / 60
        return {
            "requests/min": round((self.metrics()["requests"] - before) / minutes, 1),
            "CPU ms/min": round((self._cpu_s() - cpu) * 1000 / minutes, 1),
            "RSS MiB": round(self._rss_mib(), 1),
        }

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _rss_mib(self) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


@contextlib.contextmanager
def controller(
    folder: Path,
    kubeconfig: Path,
    namespaces: Mapping[str, str] | str = MappingProxyType({"": "apps"}),
    own: str = "apps",
) -> Iterator[Running]:
    """Run a controller with its files in `folder`, in the namespace `own`.

    `namespaces` are those with apps by environment, or the label that selects them.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    health = f'[health]\naddress = "127.0.0.1:{port}"\n'
    write_settings(folder, kubeconfig, namespaces, own, health)
    process = subprocess.Popen(command(folder, "controller"))
    try:
        yield Running(process, port)
    finally:
        end_process(process)


def end_process(process: "subprocess.Popen[Any]") -> None:
    """End a process in order, or by force on a machine that is too busy."""
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def write_settings(
    folder: Path, kubeconfig: Path, namespaces: Mapping[str, str] | str, own: str, more: str
) -> None:
    """Write the settings of a controller or a gateway, and make its store and keys."""
    if isinstance(namespaces, str):
        spaces = f'namespace_selector = "{namespaces}"'
    else:
        pairs = ", ".join(f'"{name}" = "{space}"' for name, space in namespaces.items())
        spaces = f"namespaces = {{ {pairs} }}"
    settings = folder / "controller.toml"
    settings.write_text(
        f'data_dir = "{folder}/data"\n[kubernetes]\ncontroller = false\n{spaces}\n'
        f'kubeconfig = "{kubeconfig}"\n[controller]\nkit_image = "kit:1"\nnamespace = "{own}"\n'
        f'[log]\nlevel = "error"\n{more}'
    )
    prepare(load_settings(settings))


def stagedoor(folder: Path, *words: str) -> str:
    """Run a command with the settings of the controller in `folder`, and return what it prints."""
    done = subprocess.run(command(folder, *words), check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def command(folder: Path, *words: str) -> list[str]:
    """Return the arguments of a process with the settings of the controller in `folder`."""
    return [sys.executable, "-m", "stagedoor", "--config", str(folder / "controller.toml"), *words]
