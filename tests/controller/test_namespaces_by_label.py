"""Namespaces that a label selects: who has it is served, and who loses it has shells that end in order."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, cast

import pytest

from stagedoor.admin.apps import Apps
from stagedoor.api.apps import list_cluster_shells
from stagedoor.controller.mirrors import ControllerMirrors, NamespaceMirrors
from stagedoor.controller.namespace_registry import NamespaceRegistry
from stagedoor.model.cluster import ClusterError, Kind
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.shell import Shell
from stagedoor.model.target import Target
from stagedoor.settings.file import parse_settings
from stagedoor.settings.kubernetes import CONTROLLER_LEASE
from stagedoor.shells.kubernetes.adapter import KubernetesShells
from stagedoor.shells.kubernetes.live.leader import format_report
from stagedoor.shells.kubernetes.live.namespace_directory import (
    NamespaceDirectory,
    NamespaceSelector,
    choose_namespaces,
)
from stagedoor.shells.kubernetes.names import ENVIRONMENT, NAMESPACES, make_shell_name
from stagedoor.wire.rfc3339 import show_time
from tests.controller.test_namespaces import Platform, enter, platform
from tests.kube.apps import deployment
from tests.kube.memory import MemoryCluster
from tests.virtual_time import in_virtual_time

LABEL = {"stagedoor.dev/shells": "true"}
SELECTOR = NamespaceSelector("stagedoor.dev/shells=true", own="stagedoor")
NOW_S = 5.0
"""How soon a new namespace works."""
TEAM = Target("app01", "team")


def namespace(name: str, labels: Mapping[str, str] = LABEL, **metadata: str) -> dict[str, Any]:
    meta = {"name": name, "labels": dict(labels), **metadata}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}


def environment(name: str) -> dict[str, str]:
    return {**LABEL, ENVIRONMENT: name}


def open_team(cluster: MemoryCluster, name: str = "team") -> None:
    """Give a namespace with an app the label, and the accounts their rights there."""
    if (Kind.DEPLOYMENT, name, "app01") not in cluster.objects:
        cluster.put(deployment(name))
    cluster.restore(name)
    cluster.put(namespace(name))


def left_in(cluster: MemoryCluster, name: str = "team") -> set[Kind]:
    """Return the kinds of the objects that are left of the shell."""
    return {key[0] for key in cluster.objects if key[1] == name and key[2] != "app01"}


def test_the_environment_is_the_label_else_the_name_and_an_empty_label_stands_for_none() -> None:
    names = [
        namespace("a"),
        namespace("b", environment("staging")),
        namespace("c", environment("")),
    ]
    chosen = choose_namespaces(names)
    assert chosen.by_environment == {"a": "a", "staging": "b", None: "c"}
    assert not chosen.refused


@pytest.mark.platform(30)
def test_of_two_namespaces_with_one_environment_neither_is_served() -> None:
    names = [namespace("a"), namespace("b", environment("a")), namespace("c")]
    chosen = choose_namespaces(names)
    assert chosen.by_environment == {"c": "c"}
    assert chosen.refused.keys() == {"a", "b"}
    assert "the namespace b has the environment 'a' as well" in chosen.refused["a"]


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (namespace("a", environment("ssh")), "'ssh' is not a name for an environment"),
        (namespace("a", environment("A_b")), "'A_b' is not a name for an environment"),
        (namespace("a", deletionTimestamp="2026-01-01T00:00:00Z"), "it is being deleted"),
        (namespace("stagedoor"), "Stagedoor itself is in it"),
    ],
)
def test_a_namespace_that_cannot_be_served_has_a_reason(found: dict[str, Any], why: str) -> None:
    chosen = choose_namespaces([found, namespace("z")], own="stagedoor")
    assert chosen.by_environment == {"z": "z"}
    assert why in chosen.refused[found["metadata"]["name"]]


@pytest.mark.platform(29)
@in_virtual_time
async def test_a_namespace_works_within_seconds_of_its_label_and_nothing_is_restarted() -> None:
    async with platform(namespaces=SELECTOR) as it:
        shells, controller = await it.gateway(), await it.controller()
        assert not shells.list_targets()
        assert controller.measure().leading, "an installation without namespaces works"
        assert controller.list_unserved() == {}
        it.cluster.close_namespace("team")
        it.cluster.put(deployment("team"))
        await asyncio.sleep(NOW_S)
        it.cluster.put(namespace("team"))
        await asyncio.sleep(NOW_S)
        assert controller.list_unserved().keys() == {"team"}, "the binder has not been there yet"
        it.cluster.restore("team")
        await asyncio.sleep(1)
        assert [str(target) for target in shells.list_targets()] == ["app01.team.ssh"]
        async with asyncio.timeout(NOW_S):
            assert isinstance(await enter(shells, TEAM), Shell)
        assert controller.measure().served == 1
        assert controller.list_unserved() == shells.list_unserved() == {}


@pytest.mark.platform(29)
@in_virtual_time
async def test_without_its_label_a_namespace_admits_nobody_and_its_shell_ends_after_its_sessions() -> (
    None
):
    async with platform(namespaces=SELECTOR) as it:
        open_team(it.cluster)
        shells, controller = await it.gateway(), await it.controller()
        assert isinstance(await enter(shells, TEAM), Shell)
        shells.touch(TEAM)
        assert not controller.count_ending()
        it.cluster.put(namespace("team", {}))
        await asyncio.sleep(1)
        assert controller.count_ending() == {"team": 1}
        assert controller.list_unserved() == {}, "it is no fault"
        refused = await enter(shells, TEAM)
        assert isinstance(refused, Denial)
        assert refused.reason is Reason.NO_APP
        assert not shells.list_targets()
        await asyncio.sleep(3600)
        assert {Kind.DEPLOYMENT, Kind.POD, Kind.LEASE} <= left_in(it.cluster), "its session is open"
        config = it.cluster.objects[Kind.CONFIG_MAP, "team", make_shell_name("app01")]
        assert "ssh-" not in str(config["data"].get("authorized_keys", ""))
        shells.release(TEAM)
        await asyncio.sleep(600)
        assert not left_in(it.cluster)
        assert not controller.count_ending()


@in_virtual_time
async def test_a_start_in_a_namespace_that_loses_its_label_is_refused_at_once() -> None:
    async with platform(namespaces=SELECTOR) as it:
        open_team(it.cluster)
        shells = await it.gateway()  # and no controller, so that it waits
        login = asyncio.create_task(enter(shells, TEAM))
        await asyncio.sleep(5)
        it.cluster.put(namespace("team", {}))
        async with asyncio.timeout(1):
            refused = await login
        assert isinstance(refused, Denial)
        assert refused.reason is Reason.NO_APP


@in_virtual_time
async def test_labels_that_flip_quickly_end_as_the_last_one_says() -> None:
    async with platform(namespaces=SELECTOR) as it:
        open_team(it.cluster)
        shells, controller = await it.gateway(), await it.controller()
        assert isinstance(await enter(shells, TEAM), Shell)
        for flip in range(20):
            it.cluster.put(namespace("team", LABEL if flip % 2 else {}))
            await asyncio.sleep(0.05 * flip)
        assert isinstance(await enter(shells, TEAM), Shell)
        assert controller.list_unserved() == {}
        login = asyncio.create_task(enter(shells, TEAM))
        for flip in range(21):
            it.cluster.put(namespace("team", LABEL if flip % 2 else {}))
            await asyncio.sleep(0.01)
        await login
        await asyncio.sleep(600)
        assert not left_in(it.cluster)


@in_virtual_time
async def test_a_label_that_goes_while_no_controller_works_is_seen_by_the_next_one() -> None:
    """In a namespace where this account may not write, the shell is another installation's."""
    async with platform(namespaces=SELECTOR) as it:
        for name in ("team", "foreign"):
            open_team(it.cluster, name)
        shells, _ = await it.gateway(), await it.controller()
        assert isinstance(await enter(shells, TEAM), Shell)
        assert isinstance(await enter(shells, Target("app01", "foreign")), Shell)
        await it.close()
        for name in ("team", "foreign"):
            it.cluster.put(namespace(name, {}))
        it.cluster.close_namespace("foreign")
        it.cluster.read.clear()
        controller = await it.controller()
        await asyncio.sleep(600)
        assert not left_in(it.cluster)
        assert Kind.DEPLOYMENT in left_in(it.cluster, "foreign")
        assert controller.list_unserved() == {}
        assert not [key for key in it.cluster.read if key[1] == "foreign"]


async def test_no_recorded_namespace_is_lost_while_others_are_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster, checked = MemoryCluster(), list[str]()
    directory = NamespaceDirectory(cluster, SELECTOR, lambda: None)
    mirrors = ControllerMirrors(cluster, None, lambda *_: None)
    registry = NamespaceRegistry(cluster, directory, mirrors, ())
    monkeypatch.setattr(NamespaceMirrors, "list_with_shell", lambda _: {"app01"})

    async def may_i(name: str, verb: str, resource: str, _: str = "") -> bool:
        checked.append(name)
        if len(checked) == 1:
            registry.note_unmanaged("later")
            raise ClusterError("no answer", status=0, reason="NoAnswer", retry=True)
        return True

    monkeypatch.setattr(cluster, "may_i", may_i)
    registry.note_unmanaged("first")
    assert await registry.adopt() == []
    assert await registry.adopt() == ["(first)", "(later)"]
    assert await registry.adopt() == []
    assert checked == ["first", "first", "later"]


@in_virtual_time
async def test_an_environment_that_moves_to_another_namespace_takes_no_session_along() -> None:
    async with platform(namespaces=SELECTOR) as it:
        for name in ("blue", "green"):
            open_team(it.cluster, name)
        it.cluster.put(namespace("blue", environment("team")))
        shells, _ = await it.gateway(), await it.controller()
        assert isinstance(await enter(shells, TEAM), Shell)
        shells.touch(TEAM)
        it.cluster.put(namespace("blue", {}))
        it.cluster.put(namespace("green", environment("team")))
        await asyncio.sleep(1)
        assert isinstance(await enter(shells, TEAM), Shell)
        shells.touch(TEAM)
        await asyncio.sleep(3600)
        assert Kind.POD in left_in(it.cluster, "blue") & left_in(it.cluster, "green")
        shells.release(TEAM)
        await asyncio.sleep(600)
        assert not left_in(it.cluster, "blue")
        assert Kind.POD in left_in(it.cluster, "green")


@pytest.mark.platform(30)
@in_virtual_time
async def test_a_doubled_environment_is_a_row_that_says_why_and_works_once_mended() -> None:
    async with platform(namespaces=SELECTOR) as it:
        for name in ("team", "other"):
            open_team(it.cluster, name)
        it.cluster.put(namespace("other", environment("team")))
        shells, controller = await it.gateway(), await it.controller()
        assert controller.list_unserved().keys() == {"other", "team"}
        assert isinstance(await enter(shells, TEAM), Denial)
        rows = await list_cluster_shells(await apps_of(it, shells), {})
        assert {(row.kind, row.environment) for row in rows} == {
            ("namespace", "other"),
            ("namespace", "team"),
        }
        assert "has the environment 'team' as well" in rows[0].detail
        it.cluster.put(namespace("other"))
        await asyncio.sleep(NOW_S)
        assert controller.list_unserved() == {}
        assert isinstance(await enter(shells, TEAM), Shell)


@pytest.mark.platform(29)
@in_virtual_time
async def test_a_namespace_that_waits_for_its_shells_is_a_row() -> None:
    async with platform(namespaces=SELECTOR) as it:
        shells = await it.gateway()
        metadata = {"name": CONTROLLER_LEASE, "namespace": "own"}
        metadata["annotations"] = {NAMESPACES: format_report(0, {}, {"team": 1})}
        spec = {"holderIdentity": "c-1", "renewTime": show_time(time.time(), micro=True)}
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
        it.cluster.put({**lease, "metadata": metadata, "spec": spec})
        (row,) = await list_cluster_shells(await apps_of(it, shells), {})
        assert (row.kind, row.environment, row.state) == ("namespace", "team", "ready")
        assert "1 shell ends after its last session" in row.detail


async def apps_of(it: Platform, shells: KubernetesShells) -> Apps:
    text = '[kubernetes]\nnamespace_selector = "stagedoor.dev/shells=true"\n'
    text += '[controller]\nnamespace = "own"\n'
    return Apps(parse_settings(text, "the test's"), cast("Any", it.cluster), shells)


@pytest.mark.platform(32)
@in_virtual_time
async def test_the_label_costs_one_watch_more() -> None:
    async with platform(namespaces=SELECTOR) as it:
        await it.controller()
        assert it.cluster.watches() == 7
        for number in range(50):
            open_team(it.cluster, f"team{number}")
        await asyncio.sleep(NOW_S)
        assert it.cluster.watches() == 7
