"""The status of an installation, for `stagedoor status`: from the store, this machine and the gateway."""

import asyncio
import http.client
import shlex
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stagedoor.admin.service import AdminService, open_service
from stagedoor.admin.sign_ins import list_sign_ins
from stagedoor.model.errors import SettingsError, StoreError
from stagedoor.model.policy import Policy
from stagedoor.model.session import AccessMethod
from stagedoor.model.shell import ShellState
from stagedoor.net.notify import reload_command
from stagedoor.serve.metrics import definitions as metrics
from stagedoor.serve.parts.shells import build_shells
from stagedoor.serve.prepare import CERTIFICATE_SOON_S, read_certificate_ends
from stagedoor.serve.supervisor.gateway_file import GATEWAYS, read_notes
from stagedoor.settings.form import split_address
from stagedoor.settings.kubernetes import CONTROLLER_LEASE
from stagedoor.settings.settings import Settings
from stagedoor.signin.provider_states import ProviderState, list_states
from stagedoor.store.changes import read_policy_version
from stagedoor.store.liveness.instances import find_instances_folder, list_instances, list_live
from stagedoor.store.sessions import list_sessions
from stagedoor.wire.finding import Finding, fail, warn
from stagedoor.wire.http.openmetrics import parse_plain_samples
from stagedoor.wire.rfc3339 import show_time

if TYPE_CHECKING:
    from stagedoor.shells.kubernetes.live.leader import LeaderReport

PAGE_TIMEOUT_S = 2.0
SLOW_STORE_S = 0.5
OLD_POLICY_S = 15.0
LONG_BACKLOG = 1000
CLUSTER_TIMEOUT_S = 3.0
NAMESPACE_FIX = (
    "if it was deleted take it out of kubernetes.namespaces (the chart's apps.namespaces); "
    "else restore its Role and RoleBinding: helm upgrade does both"
)
LABEL_FIX = (
    "mend its labels, or wait a minute for its RoleBindings: the binder creates them, and its log says why "
    "it cannot"
)
UNNAMED = "health.address names no port"


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """The status of the store.

    `answer_s` is how long one transaction took. `sessions` counts the open sessions by access method.
    `workers` are the workers of all machines that share the store.
    """

    answer_s: float
    policy_version: int
    sessions: Mapping[str, int]
    sign_ins: int
    workers: Sequence[str]
    providers: Sequence[ProviderState] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """A replaced program of the gateway that still has sessions after an upgrade."""

    version: str
    pid: int
    sessions: int


@dataclass(frozen=True, slots=True)
class Status:
    """The status of an installation at one moment.

    `gateways` and `workers` run on this machine. `measured` has the gateway's metrics without labels. It
    is empty if `health.address` is not set or does not answer; `unmeasured` is then the reason.
    `certificates` maps each to its expiry in seconds since the epoch, and `shells` counts shells by kind.
    `controller` is what the cluster reports about the controllers, or the reason why it does not; None if
    no shells are on a cluster. `retired` are the programs before upgrades; each is among `gateways` too.
    """

    at: float
    gateways: Sequence[str]
    workers: Sequence[str]
    place: str
    store: StoreStatus | None = None
    store_problem: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)
    unmeasured: str = ""
    certificates: Mapping[str, float] = field(default_factory=dict)
    shells: Mapping[str, int] = field(default_factory=dict)
    controller: "LeaderReport | str | None" = None
    retired: Sequence[Generation] = ()


MAX_BYTES = 1024 * 1024


def fetch_page(host: str, port: int, path: str, timeout_s: float) -> tuple[int, str]:
    """Return the status and the body, at most 1 MiB. Raises OSError, ValueError.

    A `host` of "" or a wildcard stands for this machine.
    """
    at = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    with closing(http.client.HTTPConnection(at, port, timeout=timeout_s)) as connection:
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read(MAX_BYTES).decode()
        except http.client.HTTPException as error:
            raise ValueError(f"{type(error).__name__}: that is not HTTP") from None


def read_status(settings: Settings) -> Status:
    """Read the status once. Changes nothing, and needs no running gateway. Blocks."""
    store, problem = None, ""
    try:
        with open_service(settings, create=False, upgrade=False) as service:
            store = _read_store(service, settings)
    except StoreError as error:
        problem = str(error)
    measured, unmeasured = _read_metrics(settings)
    return Status(
        time.time(),
        list_live(settings.data_dir / GATEWAYS),
        list_live(find_instances_folder(settings.data_dir)),
        str(settings.store_location),
        store,
        problem,
        measured,
        unmeasured,
        read_certificate_ends(settings),
        asyncio.run(_count_shells(settings)),
        _read_leader(settings),
        [
            Generation(note.version, note.pid, note.sessions)
            for note in read_notes(settings.data_dir).values()
            if note.retired
        ],
    )


def _read_leader(settings: Settings) -> "LeaderReport | str | None":
    if not settings.kubernetes.is_used:
        return None
    # Imported here, since its libraries are an extra.
    from stagedoor.admin.kubernetes import report_leader

    try:
        return asyncio.run(report_leader(settings, CLUSTER_TIMEOUT_S))
    except SettingsError as error:
        return str(error)


def _read_store(service: AdminService, settings: Settings) -> StoreStatus:
    began = time.monotonic()
    workers = list_instances(service.database)
    answer_s = time.monotonic() - began
    sessions = Counter(
        session.access_method for session in list_sessions(service.database, limit=None)
    )
    with service.database.read() as transaction:
        version = read_policy_version(transaction)
    sign_ins = list_sign_ins(service)
    providers = list_states([provider.name for provider in settings.sso], sign_ins)
    return StoreStatus(answer_s, version, sessions, len(sign_ins), workers, providers)


def _read_metrics(settings: Settings) -> tuple[Mapping[str, float], str]:
    address = settings.health.address
    if address is None or split_address(address)[1] == 0:
        return {}, UNNAMED
    try:
        status, text = fetch_page(*split_address(address), "/metrics", PAGE_TIMEOUT_S)
    except (OSError, ValueError) as error:
        return {}, f"{address} (health.address) does not answer: {error}"
    return (parse_plain_samples(text), "") if status == 200 else ({}, f"{address} answers {status}")


async def _count_shells(settings: Settings) -> Mapping[str, int]:
    local = build_shells(settings, Policy).local
    states = [await local.observe(target) for target in local.list_targets()]
    return {
        "static": len(settings.shells.static),
        "local": len(states),
        "local_running": states.count(ShellState.READY),
        "namespaces": len(settings.kubernetes.namespaces),
        "selector": int(settings.kubernetes.namespace_selector is not None),
    }


def list_lines(
    current: Status, show_end: Callable[[float], str] = show_time
) -> list[tuple[str, str]]:
    """Return the status as lines of a name and a text. `show_end` formats the end of a certificate."""
    gateways = _count(len(current.gateways) - len(current.retired), "gateway")
    lines = [("here", f"{gateways}, {_count(len(current.workers), 'worker')}")]
    for old in current.retired:
        left = _count(old.sessions, "session")
        lines.append(("older", f"{old.version}, process {old.pid}, {left} left"))
    store = current.store
    if store is not None:
        by = ", ".join(
            f"{access_method} {store.sessions.get(access_method, 0)}"
            for access_method in AccessMethod
        )
        elsewhere = len(set(store.workers) - set(current.workers))
        if elsewhere:
            lines.append(("elsewhere", _count(elsewhere, "worker")))
        lines.append(("sessions", f"{sum(store.sessions.values())} ({by})"))
        lines.append(("sign-ins", str(store.sign_ins)))
        lines += [("provider", f"{state.name}: {state}") for state in store.providers]
        age = current.measured.get(metrics.POLICY_AGE.name)
        read = "" if age is None else f", read {age:.1f} s ago"
        lines.append(("policy", f"version {store.policy_version}{read}"))
        lines.append(("store", f"{current.place}, answers in {store.answer_s * 1000:.1f} ms"))
    backlog = current.measured.get(metrics.AUDIT_BACKLOG.name)
    if backlog is not None:
        lines.append(("audit", f"{_count(int(backlog), 'event')} not written yet"))
    kinds = current.shells
    shells = f"{kinds['static']} static, {kinds['local']} local ({kinds['local_running']} running)"
    if kinds.get("selector"):
        shells += ", and those of namespaces with a label: stagedoor app list"
    if kinds["namespaces"]:
        shells += f", {_count(kinds['namespaces'], 'namespace')} of a cluster: stagedoor app list"
    lines.append(("shells", shells))
    report = current.controller
    if report is not None and not isinstance(report, str) and report.holder:
        served = f"serves {report.served} of {_count(report.served + report.unserved, 'namespace')}"
        lines.append(("controller", f"{report.holder} leads, {served}"))
        lines += [("ending", sentence) for sentence in report.explain_ending().values()]
    for name, at in current.certificates.items():
        lines.append(("certificate", f"{name} expires {show_end(at)}"))
    if current.unmeasured:
        lines.append(("metrics", f"none: {current.unmeasured}"))
    return lines


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


def list_problems(status: Status) -> list[Finding]:
    """Return the problems that a status shows, the worst first. Pure."""
    findings = [
        *_find_gateway_problems(status),
        *_find_store_problems(status),
        *_find_metric_problems(status),
        *_find_controller_problems(status.controller, by_label=bool(status.shells.get("selector"))),
    ]
    for name, at in status.certificates.items():
        left = at - status.at
        fix = f"renew it ({_SETTING[name]}), then: {reload_command()}"
        if left <= 0:
            findings.append(fail(f"the certificate {name} expired at {show_time(at)}", fix))
        elif left < CERTIFICATE_SOON_S:
            findings.append(warn(f"the certificate {name} expires at {show_time(at)}", fix))
    return sorted(findings, key=lambda finding: finding.level)


_SETTING = {"tls": "tunnel.certificate_file", "ssh_host": "ssh.host_certificate_file"}


def _find_gateway_problems(status: Status) -> list[Finding]:
    if not status.gateways:
        return [fail("no gateway runs on this machine", "systemctl start stagedoor")]
    if not status.workers:
        return [
            fail(
                "the gateway has no worker, so it refuses all logins", "see its log for the reason"
            )
        ]
    return []


def _find_store_problems(status: Status) -> list[Finding]:
    if status.store is None:
        return [fail(status.store_problem, "stagedoor doctor checks the store separately")]
    if status.store.answer_s > SLOW_STORE_S:
        what = f"the store took {status.store.answer_s:.1f} s to answer"
        return [
            warn(what, "look for a slow disk or network, or another program that uses the store")
        ]
    return [
        warn(
            f"the identity provider {state.name} does not confirm sign-ins: {state.failure}",
            f"stagedoor sso test {shlex.quote(state.name)}",
        )
        for state in status.store.providers
        if state.is_failing
    ]


def _find_controller_problems(
    report: "LeaderReport | str | None", *, by_label: bool = False
) -> list[Finding]:
    namespace_fix = LABEL_FIX if by_label else NAMESPACE_FIX
    if report is None:
        return []
    if isinstance(report, str):
        fix = f"this account needs the right to get the Lease {CONTROLLER_LEASE}"
        return [warn(f"the cluster does not report which controller leads: {report}", fix)]
    if not report.holder:
        what = "no controller leads, so no shell is started on the cluster"
        return [fail(what, "see the controllers' log: kubectl logs, or stagedoor controller")]
    findings = [
        warn(f"the controller does not serve the namespace {name}: {why}", namespace_fix)
        for name, why in report.reasons.items()
    ]
    if report.unserved and not report.served:
        findings.insert(0, fail("the controller serves no namespace", namespace_fix))
    elif report.unserved > len(report.reasons):
        more = report.unserved - len(report.reasons)
        findings.append(
            warn(f"the controller does not serve {more} more namespaces", namespace_fix)
        )
    return findings


def _find_metric_problems(status: Status) -> list[Finding]:
    findings = []
    if not status.measured:
        if status.gateways and status.unmeasured != UNNAMED:
            findings.append(
                warn(status.unmeasured, "check that no other program has the port; see the log")
            )
        return findings
    backlog = status.measured.get(metrics.AUDIT_BACKLOG.name) or 0
    age = status.measured.get(metrics.POLICY_AGE.name) or 0
    workers, wanted = (
        status.measured.get(metrics.WORKERS.name),
        status.measured.get(metrics.WANTED.name),
    )
    if status.measured.get(metrics.AUDIT_FAILING.name):
        what = "the audit cannot be written, so every login is denied"
        findings.append(fail(what, "see `audit` in the gateway's log; usually the disk is full"))
    elif backlog > LONG_BACKLOG:
        what = f"{backlog:g} audit events wait to be written"
        findings.append(warn(what, "look for a slow disk: stagedoor doctor"))
    if age > OLD_POLICY_S:
        what = f"the policy was read {age:.0f} s ago; after 30 s all logins are refused"
        findings.append(fail(what, "see `policy` in the gateway's log"))
    if status.measured.get(metrics.DRAINING.name):
        findings.append(warn("the gateway is draining", "wait, or start it again"))
    elif not status.measured.get(metrics.READY_NOW.name):
        findings.append(fail("the gateway refuses all logins", "see /readyz and its log"))
    elif workers is not None and wanted is not None and workers < wanted:
        what = f"only {workers:g} of {wanted:g} workers accept connections"
        findings.append(warn(what, "see `worker died` in the gateway's log"))
    return findings
