"""A shell's life, hours of it: the controller and a gateway's side of it, over a cluster in memory.

What needs a kubelet, a real API server or OpenSSH is in `tests/kube/test_lifecycle.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from stagedoor.admin.apps import Apps, ClusterApp
from stagedoor.controller.loop import Controller, LeaderOnly
from stagedoor.controller.shell_writer import ShellWriter
from stagedoor.model.cluster import Kind, Object
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Admission
from stagedoor.model.shell import Shell, ShellState
from stagedoor.model.target import Target
from stagedoor.model.units import HOUR_S, MINUTE_S
from stagedoor.settings.file import parse_settings
from stagedoor.shells.kubernetes.adapter import KubernetesShells
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.annotations import AppSettings
from stagedoor.shells.kubernetes.derive.kit import Kit
from stagedoor.shells.kubernetes.derive.notes import NoteKind
from stagedoor.shells.kubernetes.live.lifecycle import IN_USE_S, RECHECK_S, RENEW_S
from stagedoor.shells.kubernetes.live.start import CHECK_EVERY_S, UNCHANGED_SETTLE_S
from stagedoor.shells.kubernetes.names import CONTAINER, IDLE_SINCE, OPT_IN, STALE
from stagedoor.wire.rfc3339 import show_time
from tests.kube.apps import deployment
from tests.kube.memory import MemoryCluster, Pods
from tests.virtual_time import in_virtual_time

EPOCH_S = 1_800_000_000.0
APP01 = Target("app01")
IDLE, BUSY = "stagedoor: idle\n", "stagedoor: busy sessions=1 tmux=0\n"
DETACHED = "stagedoor: busy sessions=0 tmux=1\n"
BOUND_S = 48 * HOUR_S
SETTLED_S = 0.1
"""Long enough for all who watch to hear of a change."""
SHELL = (Kind.DEPLOYMENT, "apps", "app01-ssh")
LEASE = (Kind.LEASE, "apps", "app01-ssh")
CONFIG = (Kind.CONFIG_MAP, "apps", "app01-ssh")


def now() -> float:
    return EPOCH_S + asyncio.get_running_loop().time()


class Story:
    """One app on a cluster in memory, whose shell says in its log who is inside."""

    def __init__(self, cluster: MemoryCluster, shells: KubernetesShells) -> None:
        self.cluster = cluster
        self.shells = shells
        self.controllers: list[asyncio.Task[None]] = []
        self.admitted: list[Admission] = []
        self._changed = asyncio.Event()
        cluster.heard.append(lambda key, found: self._changed.set())

    def app(self, release: str = "1", image: str = "shop:1", **annotations: str) -> None:
        env = {"RELEASE": release}
        self.cluster.put(deployment("apps", image=image, env=env, annotations=annotations))

    def controller(
        self, settings: AppSettings, guarded: LeaderOnly | None = None, *, leaving: bool = False
    ) -> Controller:
        cluster = guarded or self.cluster
        return Controller(
            cluster,
            {} if leaving else {None: "apps"},
            ShellWriter(
                cluster,
                lambda names: (b"key", "cert"),
                lambda _: self.admitted,
                (),
                "controller",
                now=now,
            ),
            Kit("kit:1"),
            on_problem=lambda target, problem, again_s: None,
            defaults=settings,
            now=now,
            clock=asyncio.get_running_loop().time,
            leaving=("apps",) if leaving else (),
        )

    def lead(self, settings: AppSettings, *, leaving: bool = False) -> None:
        """Start a controller, which works at once; `leaving`: its settings have the namespace no more."""
        made = self.controller(settings, leaving=leaving)
        self.controllers.append(asyncio.create_task(made.run()))

    def lead_no_more(self) -> None:
        for task in self.controllers:
            task.cancel()

    async def enter(self) -> Shell:
        entered = await self.shells.start_without_grant(APP01, lambda step: None)
        assert isinstance(entered, Shell), entered
        return entered

    async def come(self) -> str:
        """Enter as a developer who stays, and return the pod."""
        await self.enter()
        self.shells.touch(APP01)
        pod = self.pod()
        self.says(pod, BUSY)
        return pod

    def go(self, log: str = IDLE) -> None:
        self.says(self.pod(), log)
        self.shells.release(APP01)

    def says(self, pod: str, log: str) -> None:
        self.cluster.said[pod] = log

    def pods(self) -> list[str]:
        return [name for kind, _, name in self.cluster.objects if kind is Kind.POD]

    def pod(self) -> str:
        (pod,) = self.pods()
        return pod

    def left(self) -> set[str]:
        """The kinds of which the shell has an object."""
        return {str(kind) for kind, _, name in self.cluster.objects if name != "app01"}

    def config(self, name: str) -> str:
        """Return what sshd and the greeting read in this file."""
        return str(self.cluster.objects[CONFIG]["data"].get(name, ""))

    async def listed(self, inside: dict[str, list[str]]) -> list[ClusterApp]:
        """Return the rows of `stagedoor app list`."""
        return await self.apps.list(inside)

    @property
    def apps(self) -> Apps:
        settings = parse_settings('[kubernetes]\nnamespaces = { "" = "apps" }\n', "the test's")
        return Apps(settings, cast("Any", self.cluster), self.shells)

    def annotation(self, name: str) -> str | None:
        annotations = self.cluster.objects[SHELL]["metadata"].get("annotations") or {}
        return annotations.get(name)

    def release_of(self, pod: str) -> str:
        """Return the RELEASE that the app had in its environment when the pod was made."""
        (container,) = (
            listed_container
            for listed_container in self.cluster.objects[SHELL]["spec"]["template"]["spec"][
                "containers"
            ]
            if listed_container["name"] == "shell"
        )
        return next(
            str(variable["value"]) for variable in container["env"] if variable["name"] == "RELEASE"
        )

    async def until(self, true: Callable[[], object], within_s: float = BOUND_S) -> float:
        """Wait for what the cluster will show; how many seconds passed."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not true():
            self._changed.clear()
            async with asyncio.timeout_at(began + within_s):
                await self._changed.wait()
            await asyncio.sleep(SETTLED_S)
        return loop.time() - began


@asynccontextmanager
async def story(settings: AppSettings = AppSettings()) -> AsyncIterator[Story]:  # noqa: B008
    """With a controller and a gateway; a server here says an SSH server's banner for every pod."""

    async def banner(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-memory\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(banner, "127.0.0.1", 0)
    cluster = MemoryCluster()
    Pods(cluster, server.sockets[0].getsockname(), IDLE)
    shells = KubernetesShells(cluster, {None: "apps"}, "gateway-1", now=now)
    made = Story(cluster, shells)
    try:
        made.lead(settings)
        shells.start()
        assert await shells.wait_until_synced(BOUND_S)
        made.app()
        await asyncio.sleep(SETTLED_S)
        yield made
    finally:
        for task in made.controllers:
            task.cancel()
        await asyncio.gather(*made.controllers, shells.stop_watching(), return_exceptions=True)
        server.close()


@in_virtual_time
async def test_a_shell_is_started_by_the_first_login_and_gone_when_nobody_has_come_for_long() -> (
    None
):
    settings = AppSettings()
    async with story() as it:
        assert it.left() == set()
        await it.enter()
        assert {"Deployment", "Service", "ConfigMap", "Secret", "Lease", "Pod"} <= it.left()
        idle_s = await it.until(lambda: it.pods() == [])
        assert settings.idle_stop_s <= idle_s <= settings.idle_stop_s + RECHECK_S
        gone_s = await it.until(lambda: it.left() == set(), settings.idle_delete_s + RECHECK_S)
        assert gone_s >= settings.idle_delete_s - 1
        # And once more from nothing.
        await it.enter()


@in_virtual_time
async def test_somebody_inside_keeps_the_shell_and_the_idle_time_runs_from_the_last_ones_leaving() -> (
    None
):
    settings = AppSettings(idle_stop_s=5 * MINUTE_S)
    async with story(settings) as it:
        pod = await it.come()
        await asyncio.sleep(HOUR_S)
        assert it.pods() == [pod]
        # A second one comes, and the first leaves.
        await it.enter()
        it.shells.touch(APP01)
        it.shells.release(APP01)
        await asyncio.sleep(20 * MINUTE_S)
        assert it.pods() == [pod]
        it.go()
        idle_s = await it.until(lambda: it.pods() == [])
        assert settings.idle_stop_s - RENEW_S <= idle_s <= settings.idle_stop_s + RECHECK_S


@in_virtual_time
async def test_the_pods_own_word_keeps_a_shell_whose_lease_nobody_renews() -> None:
    async with story(AppSettings(idle_stop_s=MINUTE_S)) as it:
        pod = await it.come()
        await it.shells.stop_watching()
        await asyncio.sleep(HOUR_S)
        assert it.pods() == [pod]
        it.says(pod, IDLE)
        assert await it.until(lambda: it.pods() == []) <= RECHECK_S + 1


@in_virtual_time
async def test_a_failed_pod_of_an_idle_shell_does_not_keep_it() -> None:
    settings = AppSettings(idle_stop_s=5 * MINUTE_S)
    async with story(settings) as it:
        await it.enter()
        running = it.pod()
        pod = it.cluster.objects[Kind.POD, "apps", running]
        ended = {"name": CONTAINER, "state": {"terminated": {}}}
        failed = {"phase": "Failed", "reason": "Evicted", "containerStatuses": [ended]}
        metadata = {**pod["metadata"], "name": "evicted", "uid": "evicted"}
        it.cluster.drop((Kind.POD, "apps", running))
        it.cluster.put({**pod, "metadata": metadata, "status": failed})
        await asyncio.sleep(SETTLED_S)
        it.cluster.put(pod)  # after the other, in the order in which the logs are read
        idle_s = await it.until(lambda: running not in it.pods())
        assert idle_s <= settings.idle_stop_s + RECHECK_S


@in_virtual_time
@pytest.mark.parametrize("by_request", [True, False])
async def test_the_event_of_a_stop_says_why(by_request: bool) -> None:
    async with story(AppSettings(idle_stop_s=5 * MINUTE_S)) as it:
        await it.enter()
        if by_request:
            await it.cluster.merge(*LEASE, objects.make_stop_request())
        await it.until(lambda: it.pods() == [])
        cause = "an administrator stopped it" if by_request else "it was idle"
        why = f"the shell was stopped: {cause}"
        assert [said for reason, said in it.cluster.events if reason == "ShellStopped"] == [why]


@in_virtual_time
async def test_a_rollout_never_restarts_a_live_shell_which_is_replaced_when_idle() -> None:
    async with story() as it:
        pod = await it.come()
        before = it.release_of(pod)
        it.app("2")
        await it.until(lambda: it.annotation(STALE), MINUTE_S)
        await asyncio.sleep(HOUR_S)
        # Who comes while it is in use comes into the one that is there.
        await it.enter()
        assert it.pod() == pod
        assert it.release_of(pod) == before == "1"
        it.go()
        # A minute after the last one left it is replaced; no client has to ask for that.
        replaced_s = await it.until(lambda: it.pods() and it.pod() != pod, HOUR_S)
        assert IN_USE_S - RENEW_S <= replaced_s <= IN_USE_S + RECHECK_S
        assert it.release_of(it.pod()) == "2"
        assert it.annotation(STALE) is None


@in_virtual_time
async def test_a_shell_of_an_older_version_says_so_everywhere() -> None:
    async with story() as it:
        await it.come()
        assert "Image: shop:1\n" in it.config("motd")
        assert it.shells.find_notice(APP01) is None
        it.app("2", "shop:2")
        await it.until(lambda: it.annotation(STALE), MINUTE_S)
        at = f"{show_time(now())[:16].replace('T', ' ')} UTC"
        notice = (
            f"app01 changed to shop:2 at {at}; this shell still runs shop:1 and is replaced when "
        )
        way = "it has no open sessions; to get the new version, log out and log in again after a minute"
        assert it.shells.find_notice(APP01) == notice + way
        # The greeting names what runs, and the file that notices are read from says the rest.
        await it.until(lambda: it.config("notice"), MINUTE_S)
        assert "Image: shop:1\n" in it.config("motd")
        assert notice in it.config("motd")
        assert it.config("notice") == f"{notice}{way}\n"
        [row] = await it.listed({"app01.ssh": ["bob", "alice", "bob"]})
        left = "alice and bob have left (now by: stagedoor app stop app01.ssh)"
        assert row.detail == f"{notice}{left}"
        assert ("ShellOutdated", notice + "it has no open sessions") in it.cluster.events
        # An hour and another change of the same release later it is said no second time.
        it.app("3", "shop:2")
        await asyncio.sleep(HOUR_S)
        assert [reason for reason, _ in it.cluster.events].count("ShellOutdated") == 1
        assert it.config("notice") == f"{notice}{way}\n"
        it.go()
        await it.until(lambda: "Image: shop:2\n" in it.config("motd"), HOUR_S)
        assert it.config("notice") == ""
        assert it.shells.find_notice(APP01) is None


@in_virtual_time
async def test_a_policy_that_bounds_the_app_and_not_its_shell_is_reported_once_and_explained() -> (
    None
):
    async with story() as it:
        app = it.cluster.objects[Kind.DEPLOYMENT, "apps", "app01"]
        labels = app["spec"]["template"]["metadata"]["labels"]
        it.cluster.put(policy("bound", labels))
        await it.come()
        await asyncio.sleep(HOUR_S)
        said = (
            "NetworkPolicy bound bounds what the app may reach, and not its shell; give the shell one for "
            "the label stagedoor.dev/shell-of: app01, and its runs one for stagedoor.dev/run-of: app01"
        )
        assert [text for reason, text in it.cluster.events if reason == "ShellOutsidePolicy"] == [
            said
        ]
        note, *_ = (await it.apps.explain(APP01)).notes
        assert (note.kind, note.why) == (NoteKind.WARNING, said)
        it.cluster.drop((Kind.NETWORK_POLICY, "apps", "bound"))
        assert said not in [note.why for note in (await it.apps.explain(APP01)).notes]


def policy(name: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": "apps", "name": name},
        "spec": {"podSelector": {"matchLabels": labels}, "policyTypes": ["Egress"]},
    }


@in_virtual_time
async def test_an_opt_in_that_cannot_work_is_told_once() -> None:
    async with story() as it:
        long = "a" * 60
        for name in ("web-ssh", "my.app", long):
            it.cluster.put(deployment("apps", name=name))
        for kind, version in (("DaemonSet", "apps/v1"), ("CronJob", "batch/v1")):
            other = deployment("apps", name="nightly") | {"kind": kind, "apiVersion": version}
            it.cluster.put(other)
        await asyncio.sleep(HOUR_S)
        details = sorted(text for reason, text in it.cluster.events if reason == "ShellImpossible")
        assert details == [
            "CronJob nightly can have no shell: only a Deployment or a StatefulSet can; remove "
            "stagedoor.dev/shell from it",
            "DaemonSet nightly can have no shell: only a Deployment or a StatefulSet can; remove "
            "stagedoor.dev/shell from it",
            f'Deployment {long} can have no shell: with "-ssh" its name is 64 characters long, and '
            "63 are allowed; give it a name of 59 at most",
            'Deployment my.app can have no shell: its name "my.app" is no RFC 1123 label (a-z, 0-9, '
            "and - inside)",
            'Deployment web-ssh can have no shell: its name "web-ssh" ends as a shell\'s does, in '
            '"-ssh"; give it another name',
        ]
        rows = [row for row in await it.listed({}) if row.state is ShellState.FAILED]
        assert sorted(row.detail for row in rows) == details
        assert {row.kind for row in rows} == {"Deployment", "DaemonSet", "CronJob"}
        # The controller that leads next says none of it again.
        it.lead_no_more()
        it.lead(AppSettings())
        await asyncio.sleep(2 * MINUTE_S)
        reasons = [reason for reason, _ in it.cluster.events]
        assert reasons.count("ShellImpossible") == len(details)
        # Mended and wrong again, it is reported again.
        it.cluster.put(
            deployment("apps", name="my.app")
            | {"metadata": {"name": "my.app", "namespace": "apps"}}
        )
        await asyncio.sleep(2 * MINUTE_S)
        it.cluster.put(deployment("apps", name="my.app"))
        await asyncio.sleep(2 * MINUTE_S)
        assert sum("my.app" in text for _, text in it.cluster.events) == 2


@in_virtual_time
async def test_a_rollout_while_nobody_is_inside_reaches_a_shell_that_is_stopped() -> None:
    async with story() as it:
        await it.enter()
        await it.until(lambda: it.pods() == [])
        it.app("2")
        await it.enter()
        assert it.release_of(it.pod()) == "2"


@in_virtual_time
async def test_an_app_that_offers_no_shell_any_more_loses_it() -> None:
    async with story() as it:
        await it.enter()
        app = it.cluster.objects[Kind.DEPLOYMENT, "apps", "app01"]
        labels = {
            name: label for name, label in app["metadata"]["labels"].items() if name != OPT_IN
        }
        it.cluster.put({**app, "metadata": {**app["metadata"], "labels": labels}})
        lost_s = await it.until(lambda: it.left() == set(), HOUR_S)
        assert lost_s <= IN_USE_S + RECHECK_S
        assert not it.shells.has_target(APP01)


@in_virtual_time
async def test_an_app_that_offers_no_shell_any_more_keeps_it_for_who_is_inside() -> None:
    async with story() as it:
        pod = await it.come()
        app = it.cluster.objects[Kind.DEPLOYMENT, "apps", "app01"]
        it.cluster.put({**app, "metadata": {**app["metadata"], "labels": {}}})
        await asyncio.sleep(HOUR_S)
        assert it.pods() == [pod]
        it.go()
        await it.until(lambda: it.left() == set(), IN_USE_S + RECHECK_S)


@pytest.mark.parametrize("annotation", ["tmux-grace", "container"], ids=["right", "wrong"])
@in_virtual_time
async def test_an_app_that_offers_no_shell_any_more_while_it_is_read_has_none(
    annotation: str,
) -> None:
    async with story() as it:
        faults: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        it.admitted[:] = [Admission("alice", ("ssh-ed25519 AAAA",))]
        pod = await it.come()
        assert "alice" in it.config("authorized_keys")
        read = it.cluster.list

        async def read_late(kind: Kind, *words: Any, **more: Any) -> Sequence[Object]:
            objects = await read(kind, *words, **more)
            app = it.cluster.objects[Kind.DEPLOYMENT, "apps", "app01"]
            if kind is Kind.POD and app["metadata"]["labels"]:
                it.cluster.put({**app, "metadata": {**app["metadata"], "labels": {}}})
                await asyncio.sleep(SETTLED_S)
            return objects

        it.cluster.list = read_late  # type: ignore[method-assign]
        it.app(**{annotation: "3h"})  # there is no container of this name
        await asyncio.sleep(MINUTE_S)
        assert not faults
        assert it.pods() == [pod]
        assert "alice" not in it.config("authorized_keys")


@in_virtual_time
async def test_who_waits_for_an_app_that_offers_no_shell_any_more_is_told() -> None:
    async with story() as it:
        it.lead_no_more()
        waiting = asyncio.create_task(it.shells.start_without_grant(APP01, lambda step: None))
        await it.until(lambda: LEASE in it.cluster.objects)
        app = it.cluster.objects[Kind.DEPLOYMENT, "apps", "app01"]
        it.cluster.put({**app, "metadata": {**app["metadata"], "labels": {}}})
        async with asyncio.timeout(UNCHANGED_SETTLE_S + 2 * CHECK_EVERY_S):
            refused = await waiting
        assert isinstance(refused, Denial)
        assert "the app no longer offers a shell" in refused.message


@in_virtual_time
async def test_a_detached_terminal_keeps_its_shell_for_its_grace() -> None:
    settings = AppSettings(idle_stop_s=5 * MINUTE_S, tmux_grace_s=2 * HOUR_S)
    async with story(settings) as it:
        pod = await it.come()
        it.go(DETACHED)
        await it.until(lambda: it.annotation(IDLE_SINCE), settings.idle_stop_s + RECHECK_S)
        assert it.pods() == [pod], "which has its grace from then on"
        stopped_s = await it.until(lambda: it.pods() == [])
        assert stopped_s <= settings.tmux_grace_s + RECHECK_S
        assert stopped_s >= settings.tmux_grace_s - RECHECK_S


@in_virtual_time
async def test_what_a_gateway_that_died_had_started_goes_by_itself() -> None:
    settings = AppSettings(idle_stop_s=5 * MINUTE_S, idle_delete_s=10 * MINUTE_S)
    async with story(settings) as it:
        pod = await it.come()
        await it.shells.stop_watching()
        it.says(pod, IDLE)  # its sessions have gone with it
        gone_s = await it.until(lambda: it.left() == set())
        assert gone_s <= settings.idle_stop_s + settings.idle_delete_s + RECHECK_S


@in_virtual_time
async def test_a_shell_in_use_outlives_an_absence_of_the_api_that_is_longer_than_its_idle_time() -> (
    None
):
    settings = AppSettings(idle_stop_s=5 * MINUTE_S, idle_delete_s=MINUTE_S)
    async with story(settings) as it:
        pod = await it.come()
        it.cluster.down = True
        await asyncio.sleep(HOUR_S)
        # A running shell is entered all the while; a client that would need the API is refused.
        await it.enter()
        it.cluster.down = False
        # Another leads by now. No gateway could renew the lease: by the clock the shell is idle.
        renewed_at = objects.read_renewal(it.cluster.objects[LEASE])
        assert renewed_at is not None
        assert now() - renewed_at > settings.idle_stop_s
        for task in it.controllers:
            task.cancel()
        it.lead(settings)

        def renewed() -> bool:
            return objects.read_renewal(it.cluster.objects[LEASE]) != renewed_at

        assert await it.until(renewed, MINUTE_S) <= RENEW_S + 1, "the lease is renewed again"
        assert it.pods() == [pod]
        it.go()
        await it.until(lambda: it.left() == set())


@in_virtual_time
async def test_who_asks_for_a_shell_while_the_api_is_gone_is_told() -> None:
    async with story() as it:
        it.cluster.down = True
        refused = await it.shells.start_without_grant(APP01, lambda step: None)
        assert isinstance(refused, Denial)
        assert "asking the cluster" in refused.message
        it.cluster.down = False
        await it.enter()


@in_virtual_time
async def test_a_warm_app_has_its_shell_before_anybody_knocks_and_keeps_it() -> None:
    async with story(AppSettings(idle_stop_s=MINUTE_S)) as it:
        it.app(warm="true")
        await it.until(it.pods, MINUTE_S)
        pod = it.pod()
        await asyncio.sleep(HOUR_S)
        await it.enter()
        assert it.pods() == [pod]


@pytest.mark.parametrize("lacks", [Kind.DEPLOYMENT, Kind.POD])
@in_virtual_time
async def test_a_list_that_is_a_moment_old_restarts_no_shell_that_runs(lacks: Kind) -> None:
    """The new leader's first list lacks the shell, or its pod, and its app has changed meanwhile."""
    async with story() as it:
        pod = await it.come()
        it.lead_no_more()
        it.app("2")
        it.cluster.stale = {(Kind.POD, "apps", pod), *([SHELL] if lacks is Kind.DEPLOYMENT else [])}
        it.lead(AppSettings())
        await asyncio.sleep(HOUR_S)
        assert it.pods() == [pod]


@in_virtual_time
async def test_deleting_the_app_deletes_its_shell() -> None:
    async with story() as it:
        await it.come()
        it.cluster.drop((Kind.DEPLOYMENT, "apps", "app01"))
        await it.until(lambda: it.cluster.objects == {}, MINUTE_S)
        await asyncio.sleep(SETTLED_S)
        assert not it.shells.has_target(APP01)


@in_virtual_time
async def test_what_is_left_of_a_shell_is_removed_though_somebody_deleted_its_lease() -> None:
    async with story() as it:
        await it.enter()
        await it.until(lambda: it.pods() == [])
        it.cluster.drop(LEASE)
        it.cluster.drop(SHELL)
        assert it.left() == {"Service", "ConfigMap", "Secret"}
        await it.until(lambda: it.left() == set(), MINUTE_S)
