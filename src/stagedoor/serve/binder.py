"""The process of `stagedoor controller --bind FILE`, which prepares the namespaces that a label selects."""

from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog

from stagedoor.admin.kubernetes import connect_cluster, find_replica_name, list_namespaces
from stagedoor.controller.binder import BindingController
from stagedoor.listeners.health import HealthListener, HealthPage
from stagedoor.model.errors import SettingsError
from stagedoor.serve import log
from stagedoor.serve.problem_log import ProblemLog
from stagedoor.serve.process import listen_for_stop, run_until
from stagedoor.settings.form import split_address
from stagedoor.settings.settings import Settings
from stagedoor.shells.kubernetes.live.namespace_directory import NamespaceSelector

MAX_BYTES = 64 * 1024


class _Metadata(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    labels: dict[str, str] = {}


class _Manifest(msgspec.Struct):
    """The part of a manifest that is checked here; the API checks the rest."""

    kind: Literal["RoleBinding", "NetworkPolicy", "ConfigMap"]
    metadata: _Metadata


class BindingFile(msgspec.Struct):
    """The chart's file: the objects for each namespace, and the ClusterRole that owns them."""

    owner: str
    objects: list[msgspec.Raw]


def read_objects(path: Path) -> tuple[str, list[dict[str, Any]]]:
    """Return the owner's name, and the manifests without a namespace. Raises SettingsError."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise SettingsError(f"{path} is larger than {MAX_BYTES // 1024} KiB")
        read = msgspec.json.decode(text, type=BindingFile)
        for item in read.objects:
            msgspec.json.decode(item, type=_Manifest)
        return read.owner, [msgspec.json.decode(item, type=dict[str, Any]) for item in read.objects]
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise SettingsError(
            f"{path} is not the chart's list of objects for each namespace: {error}"
        ) from None


async def run_binder(settings: Settings, path: Path) -> None:
    """Prepare namespaces until SIGTERM or SIGINT. Raises StagedoorError if it cannot start."""
    log.configure(settings.log)
    logger = structlog.get_logger()
    problems = ProblemLog(logger)
    selector = list_namespaces(settings)
    if not isinstance(selector, NamespaceSelector):
        raise SettingsError(
            "kubernetes.namespace_selector is not set: without it there is no namespace to prepare"
        )
    owner, objects = read_objects(path)
    cluster = connect_cluster(settings, "stagedoor-binder", find_replica_name(), problems)
    binder = BindingController(
        cluster,
        selector,
        objects,
        owner,
        lambda name, problem: problems(f"namespace {name}" if name else "namespaces", problem),
    )

    def readiness() -> HealthPage:
        if binder.problem is None:
            return HealthPage("working\n")
        return HealthPage(f"{binder.problem}\n", HTTPStatus.SERVICE_UNAVAILABLE)

    health = HealthListener({"/healthz": lambda: HealthPage("alive\n"), "/readyz": readiness})
    stop = listen_for_stop()
    if settings.health.address is not None:
        await health.start(*split_address(settings.health.address))
    logger.info("binder works", namespaces=selector.labels, api=cluster.address)
    try:
        await run_until(stop.wait(), binder.run())
    finally:
        await health.close()
        await cluster.close_connections()
    logger.info("binder stopped")
