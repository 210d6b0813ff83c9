"""The construction of one worker's parts: the only module that names their concrete classes."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from stagedoor.admin.asking import ask
from stagedoor.admin.certificates.revocation import RevokedKeysFile
from stagedoor.admin.certificates.user_signer import UserCertificates
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.requests.request_service import RequestService
from stagedoor.audit.ledger import AuditLedger
from stagedoor.authn.authenticator import Authenticator
from stagedoor.authz.authoriser import Authoriser, GivenGrants
from stagedoor.listeners.limits import LIMITS, ClientLimits
from stagedoor.listeners.ssh.listener import SshListener
from stagedoor.listeners.tunnel import TunnelListener
from stagedoor.model.metric import Series
from stagedoor.model.policy import Policy
from stagedoor.model.session import End
from stagedoor.model.target import Target
from stagedoor.model.webpass import KeyLogin
from stagedoor.net.tls import ServerTls
from stagedoor.relay.limits import RelayLimits
from stagedoor.relay.loop import Relay
from stagedoor.serve.log import make_line_writer
from stagedoor.serve.metrics import definitions as of
from stagedoor.serve.metrics.measured import (
    MetricsLedger,
    MetricsShells,
    make_store_timer,
    measure_note,
    sign_in_counter,
)
from stagedoor.serve.metrics.tally import MetricCounts
from stagedoor.serve.parts.direct import build_direct_login, build_recorder, resume_endpoints
from stagedoor.serve.parts.heartbeat import start_heartbeat
from stagedoor.serve.parts.listening import accept_rules
from stagedoor.serve.parts.policy_reader import WatchedPolicy
from stagedoor.serve.parts.runs import make_runs
from stagedoor.serve.parts.shells import build_shells, make_connector
from stagedoor.serve.parts.ssh import build_page, build_ssh_listener, make_trust_reader
from stagedoor.serve.problem_log import ProblemLog
from stagedoor.session.flow import Flow
from stagedoor.session.registry import Registry
from stagedoor.settings.settings import Settings
from stagedoor.shells.ports import Shells
from stagedoor.signin.links import find_site_or_none, read_step_up_rules
from stagedoor.signin.step_up import StepUpService
from stagedoor.store.database import Database, open_database
from stagedoor.store.deliveries import find_first_undelivered
from stagedoor.store.journal import StoreJournal
from stagedoor.store.liveness.instances import find_instances_folder, hold_instance
from stagedoor.store.sessions import CloseRequest, Live, update_live
from stagedoor.store.sign_in import passes
from stagedoor.store.sign_in.logins import sign_in_numbered
from stagedoor.store.watch import PolicyWatch
from stagedoor.upstream.connect import TcpConnector

if TYPE_CHECKING:
    from stagedoor.listeners.web.listener import WebListener
    from stagedoor.serve.traces import TraceExporter
    from stagedoor.signin.refresh import RefreshService
from stagedoor.serve.parts.policy_reader import Topic
from stagedoor.serve.parts.shells import start_kubernetes_shells

FLUSH_S = 5.0

COUNTS_AT_ONCE = 256
"""The most sessions whose bytes one transaction writes: a login waits for one of these, and a process
keeps the memory of its largest list."""


@dataclass(frozen=True, slots=True)
class WebParts:
    """The settings of a worker that answers the web: its TLS, or None for plain HTTP."""

    tls: ServerTls | None


class Gateway:
    """The running parts of one worker. Each part uses only those above it."""

    def __init__(
        self,
        settings: Settings,
        instance: str,
        ports: frozenset[int],
        ssh_addresses: tuple[str, ...] = (),
        web: WebParts | None = None,
        certificates: UserCertificates | None = None,
        limits: ClientLimits = LIMITS,
    ) -> None:
        """Create the parts and start their threads.

        `ports` are the ports that this gateway listens on, `ssh_addresses` the addresses on which it
        answers SSH. `web` is None if it does not answer the web, and `certificates` if no certificates
        are signed. Raises StagedoorError.
        """
        self._log = structlog.get_logger()
        self._instance = instance
        self._limits = limits
        self.certificates = certificates
        """Signs certificates for sign-ins; None if none are signed."""
        self._problems = ProblemLog(self._log)
        self._audit = settings.audit
        self.held = hold_instance(find_instances_folder(settings.data_dir), instance)
        self.tally = MetricCounts()
        self.database = open_database(settings.place)
        self.database.on_transaction = make_store_timer(self.tally)
        policy_changes, close_requests = Topic[Policy](), Topic[tuple[CloseRequest, ...]]()
        self.watch = self._policy_watch(settings, policy_changes, close_requests)
        self.authenticator = _authenticator(settings, self.watch, self.database)
        # Uses the policy as it was last read: a failing store refuses logins, but ends no session.
        self._given = GivenGrants()
        judge = Authoriser(lambda: self.watch.last_policy, time.time, given=self._given)
        self.registry = Registry(judge.judge_again, time.time)
        self._open_audit(instance)
        self._open_shells(settings, instance)
        policy_changes.subscribe(self._on_policy)
        close_requests.subscribe(self._on_close_requests)
        self.relay = Relay(RelayLimits(idle_timeout_s=settings.relay.idle_timeout_s))
        self.sign_ins = WorkerContext(settings, self.database, lambda: self.watch.policy)
        self.step_ups = StepUpService(self.sign_ins)
        self.requests = request_service(self.sign_ins, self.shells.list_targets)
        self._traces = _traces(settings, instance, self._problems)
        connector = make_connector(ports, self.shells)
        flow = self._flow(settings, connector)
        self.listener = self._tunnels(settings, flow, connector)
        self._runs, self.run_watch = make_runs(
            settings, flow, self.database, self.watch, instance, self._problems, self._runner
        )
        self.recorder = build_recorder(settings, self._note)
        self.ssh = self._ssh(settings, flow, ssh_addresses)
        """None, as `web` is, if the settings name no address for it."""
        self._refresh: RefreshService | None = None
        self.web = self._web(settings, flow, web)
        for part in (self.ledger, self.watch, self.recorder):
            part.start()
        # For a store that machines share.
        self.heartbeat = start_heartbeat(
            settings, self.database, instance, self.registry, self._problems
        )

    def _open_shells(self, settings: Settings, instance: str) -> None:
        started = start_kubernetes_shells(settings, instance, self._problems)
        self._cluster = None if started is None else started[0]
        self._runner = None if started is None else started[1]
        # The users who may log in to a shell stay written there while the store is unreachable.
        shells = build_shells(settings, lambda: self.watch.last_policy, self._cluster)
        self.shells: Shells = shells.shells
        """The event loop that they belong to closes them, before `close`."""
        self._local = shells.local
        self._local.refresh()

    def _open_audit(self, instance: str) -> None:
        self.ledger = AuditLedger(
            StoreJournal(self.database), instance, on_problem=partial(self._problems, "audit")
        )
        self.measured_ledger = MetricsLedger(self.ledger, self.tally, self.registry.take_new_bytes)
        self._note = measure_note(self.ledger.note, self.tally)

    def _policy_watch(
        self,
        settings: Settings,
        changes: Topic[Policy],
        close_requests: Topic[tuple[CloseRequest, ...]],
    ) -> PolicyWatch:
        return PolicyWatch(
            self.database,
            self._instance,
            on_change=changes.publish,
            on_close_requests=close_requests.publish,
            on_problem=partial(self._problems, "policy"),
            password_groups=settings.accounts.passwords_for,
        )

    def _flow(self, settings: Settings, connector: TcpConnector) -> Flow:
        return Flow(
            authenticator=self.authenticator,
            authoriser=Authoriser(
                lambda: self.watch.policy, time.time, read_step_up_rules(settings), self._given
            ),
            policy=WatchedPolicy(self.watch),
            shells=MetricsShells(self.shells, self.tally),
            ledger=self.measured_ledger,
            connector=connector,
            registry=self.registry,
            now=time.time,
            write_line=make_line_writer(),
            start_timeout_s=settings.shells.start_timeout_s,
            step_ups=self.step_ups,
            access_requests=self.requests,
            on_trace=self._traces,
        )

    def _tunnels(self, settings: Settings, flow: Flow, connector: TcpConnector) -> TunnelListener:
        endpoints = resume_endpoints(settings, self._note, connector)
        return TunnelListener(flow, self.relay, accept_rules(settings), endpoints, self._limits)

    def _ssh(
        self, settings: Settings, flow: Flow, addresses: tuple[str, ...]
    ) -> SshListener | None:
        if not addresses:
            return None
        direct = build_direct_login(settings, self._note, self.recorder)
        page = build_page(
            self.sign_ins, self.certificates, self.shells.list_targets, self.requests, self._runs
        )
        return build_ssh_listener(settings, flow, addresses, direct, page, self._limits)

    def _web(self, settings: Settings, flow: Flow, web: WebParts | None) -> "WebListener | None":
        if web is None:
            return None
        # Imported here, since its libraries would cost every worker memory.
        from stagedoor.serve.parts.web import build_web_listener, sign_ins_of

        sign_ins, self._refresh = sign_ins_of(self.sign_ins, self.shells.list_targets)
        return build_web_listener(
            self.sign_ins,
            flow,
            web.tls,
            self.recorder,
            self._note,
            sign_ins,
            self.step_ups,
            self.requests,
            sign_in_counter(self.tally),
            self.certificates,
            RevokedKeysFile(settings.ssh.revoked_keys_file).explain_refusal,
            self._runs,
            self._cluster,
            self._limits,
        )

    async def ask_providers(self) -> None:
        """Confirm the open sign-ins with their identity providers again and again, until cancelled."""
        if self._refresh is not None:
            await self._refresh.run()

    def _on_policy(self, policy: Policy) -> None:
        closed = self.registry.review()
        self._refresh_keys()  # if it raises, the policy watch tries again at its next read
        self._log.info(
            "policy changed",
            version=policy.version,
            sessions_closed=closed,
            instance=self._instance,
        )

    async def review_rights(self) -> None:
        """Close the sessions that the cluster no longer allows (`kubernetes.authorise`)."""
        if self._cluster is not None:
            refused = await self._cluster.find_denials(self.registry.list_grants())
            for session_id, denial in refused.items():
                self.registry.close_session(session_id, End.REVOKED, denial.line)

    def renew_keys(self) -> None:
        """Renew the keys in local shells before they expire. Usually none is due.

        Blocks. Raises OSError.
        """
        if self._local.has_due_keys():
            self._refresh_keys()

    def _refresh_keys(self) -> None:
        try:
            self._local.refresh()
        except OSError as error:
            self._problems("local shells' keys", str(error))
            raise
        self._problems("local shells' keys", None)

    def _on_close_requests(self, requests: tuple[CloseRequest, ...]) -> None:
        for request in requests:
            self.registry.close_session(request.session, End.EVICTED, request.reason)

    def write_counts(self) -> None:
        """Write to the store how many bytes live sessions have moved. Raises StoreError; blocks."""
        now, counts = time.time(), self.registry.read_counts()
        while batch := tuple(islice(counts, COUNTS_AT_ONCE)):
            update_live(self.database, [Live(name, c.sent, c.received, now) for name, c in batch])
            self.measured_ledger.count_moved(batch)

    def read_gauges(self) -> dict[Series, float]:
        """Return this worker's gauges as they are now."""
        gauges: dict[Series, float] = {
            of.AUDIT_BACKLOG.make_series(): self.ledger.backlog,
            of.AUDIT_FAILING.make_series(): float(self.ledger.problem is not None),
            of.POLICY_AGE.make_series(): self.watch.measure_age_s(),
            of.POLICY_VERSION.make_series(): self.watch.last_policy.version,
            of.RECORDING.make_series(): len(self.recorder),
            of.WEBSOCKETS.make_series(): 0 if self.web is None else self.web.terminals,
            of.HOLDERS.make_series(): 0 if self.web is None else self.web.holders,
        }
        inside = self.measured_ledger.count_sessions()
        return gauges | {of.SESSIONS.make_series(way): count for way, count in inside.items()}

    def check_deliveries(self) -> None:
        """Refuse logins while an audit sink is further behind than `audit.refuse_after_s`.

        Blocks. Raises StoreError.
        """
        limit_s = self._audit.refuse_after_s
        if limit_s is None:
            return
        sinks = tuple(sink.name for sink in self._audit.sinks)
        since = find_first_undelivered(self.database, sinks)
        late = since is not None and time.time() - since > limit_s
        why = "events have not reached every place that they must be sent to; try again later"
        self.ledger.hold(why if late else None)
        self._problems(
            "audit delivery", "all logins are refused (audit.refuse_after_s)" if late else None
        )

    def close_parts(self) -> int:
        """Close everything in order, and return how many audit events could not be written. Blocks."""
        self.relay.stop()
        if self._traces is not None:
            self._traces.stop()
        self.watch.stop()
        self.recorder.stop(FLUSH_S)
        unwritten = self.ledger.stop(FLUSH_S)
        self.authenticator.stop_threads()
        if self.heartbeat is not None:
            self.heartbeat.stop(in_order=unwritten == 0)
        self.database.close()
        if unwritten == 0:
            # A removed file means that everything ended in order; otherwise the next start checks.
            self.held.release()
        return unwritten


def _authenticator(settings: Settings, watch: PolicyWatch, database: Database) -> Authenticator:
    return Authenticator(
        lambda: watch.policy,
        time.time,
        trust=make_trust_reader(settings),
        last_policy=lambda: watch.last_policy,
        find_sign_in=lambda number: ask(sign_in_numbered, database, number, time.time()),
        find_login=lambda secret: ask(passes.find, database, KeyLogin, secret),
        stale_s={provider.name: provider.stale_s for provider in settings.sso},
    )


def _traces(settings: Settings, instance: str, problems: ProblemLog) -> "TraceExporter | None":
    """Return the exporter of logins' steps, or None if `traces.url` is not set."""
    if settings.traces.url is None:
        return None
    # Imported here, since its libraries are an extra and would cost every worker memory.
    from stagedoor.serve.traces import TraceExporter

    return TraceExporter(settings.traces, instance, partial(problems, "traces"))


def request_service(context: WorkerContext, apps: Callable[[], Iterable[Target]]) -> RequestService:
    """Return the service of access requests; `apps` returns the apps that exist."""
    settings = context.settings
    return RequestService(context, read_step_up_rules(settings), apps, find_site_or_none(settings))
