"""Constructs a worker's parts. Only `serve` names their concrete classes."""

import time
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from stagedoor.admin.blocking import call_blocking
from stagedoor.admin.certificates.user_signer import UserCertificates
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.requests.offers import RequestOffers
from stagedoor.admin.requests.request_service import RequestService
from stagedoor.audit.ledger import AuditLedger
from stagedoor.authn.authenticator import Authenticator
from stagedoor.authz.authoriser import Authoriser, GrantCache
from stagedoor.listeners.limits import LIMITS, ClientLimits
from stagedoor.listeners.tunnel import TunnelListener
from stagedoor.model.metric import Series
from stagedoor.model.policy import Policy
from stagedoor.model.session import EndReason
from stagedoor.model.webpass import KeyLogin
from stagedoor.relay.limits import RelayLimits
from stagedoor.relay.loop import Relay
from stagedoor.serve.log import make_line_writer
from stagedoor.serve.metrics import definitions as metrics
from stagedoor.serve.metrics.measured import (
    MetricsLedger,
    MetricsShells,
    make_store_timer,
    measure_note,
)
from stagedoor.serve.metrics.tally import MetricCounts
from stagedoor.serve.parts.direct import build_endpoints, build_recorder
from stagedoor.serve.parts.heartbeat import start_heartbeat
from stagedoor.serve.parts.listener import ListenerParts
from stagedoor.serve.parts.listening import ListeningSockets, make_accept_rules
from stagedoor.serve.parts.policy_reader import WatchedPolicy
from stagedoor.serve.parts.runs import make_runs
from stagedoor.serve.parts.shells import build_shells, make_connector, start_kubernetes_shells
from stagedoor.serve.parts.ssh import build_ssh_listener, make_trust_reader
from stagedoor.serve.problem_log import ProblemLog
from stagedoor.session.flow import Flow
from stagedoor.session.registry import Registry
from stagedoor.settings.settings import Settings
from stagedoor.shells.ports import Shells
from stagedoor.signin.site import find_site_or_none, read_step_up_rules
from stagedoor.signin.step_up import StepUpService
from stagedoor.store.database import Database, open_database
from stagedoor.store.deliveries import find_first_undelivered
from stagedoor.store.journal import StoreJournal
from stagedoor.store.liveness.instances import find_instances_folder, hold_instance
from stagedoor.store.sessions import CloseRequest, Live, update_live
from stagedoor.store.sign_in import passes
from stagedoor.store.sign_in.logins import find_sign_in_by_number
from stagedoor.store.watch import PolicyWatch
from stagedoor.upstream.connect import TcpConnector

if TYPE_CHECKING:
    from stagedoor.listeners.web.listener import WebListener
    from stagedoor.serve.traces import TraceExporter
    from stagedoor.signin.refresh import RefreshService

FLUSH_S = 5.0

COUNTS_AT_ONCE = 256
"""The most sessions whose bytes are written in one transaction. A login may have to wait for it, and a
process keeps the memory of its largest list."""


class WorkerParts:
    """The running parts of one worker. Each part uses only those above it."""

    def __init__(
        self,
        settings: Settings,
        instance: str,
        ports: frozenset[int],
        sockets: ListeningSockets,
        certificates: UserCertificates | None = None,
        client_limits: ClientLimits = LIMITS,
    ) -> None:
        """Create the parts and start their threads.

        `ports` are the ports that this gateway listens on, in any process, and `sockets` those that this
        worker answers. `certificates` is None if no certificates are signed. Raises StagedoorError.
        """
        self._log = structlog.get_logger()
        self._settings = settings
        self._instance = instance
        self._problems = ProblemLog(self._log)
        self.held = hold_instance(find_instances_folder(settings.data_dir), instance)
        self.tally = MetricCounts()
        self.database = open_database(settings.store_location)
        self.database.on_transaction = make_store_timer(self.tally)
        self.watch = PolicyWatch(
            self.database,
            instance,
            on_change=self._on_policy,
            on_close_requests=self._on_close_requests,
            on_problem=partial(self._problems, "policy"),
            password_groups=settings.accounts.passwords_for,
        )
        self.authenticator = _build_authenticator(settings, self.watch, self.database)
        # Uses the policy as it was last read, since a failing store refuses logins but ends no session.
        self._grants = GrantCache()
        judge = Authoriser(lambda: self.watch.last_policy, time.time, cache=self._grants)
        self.registry = Registry(judge.judge_again, time.time)
        self.ledger = AuditLedger(
            StoreJournal(self.database), instance, on_problem=partial(self._problems, "audit")
        )
        self.measured_ledger = MetricsLedger(self.ledger, self.tally, self.registry.take_new_bytes)
        self._note = measure_note(self.ledger.note, self.tally)
        self._open_shells()
        self._traces = _build_traces(settings, instance, self._problems)
        self.recorder = build_recorder(settings, self._note)
        self._build_listeners(ports, sockets, certificates, client_limits)
        for part in (self.ledger, self.watch, self.recorder):
            part.start()
        # For a store that machines share.
        self.heartbeat = start_heartbeat(
            settings, self.database, instance, self.registry, self._problems
        )

    def _open_shells(self) -> None:
        started = start_kubernetes_shells(
            self._settings, self.database, self._instance, self._problems
        )
        self._cluster = None if started is None else started[0]
        self._runner = None if started is None else started[1]
        # While the store is unreachable, a shell keeps its list of users who may log in.
        shells = build_shells(self._settings, lambda: self.watch.last_policy, self._cluster)
        self.shells: Shells = shells.shells
        """The event loop that they belong to closes them, before `close_parts`."""
        self._local = shells.local
        self._local.refresh()

    def _build_listeners(
        self,
        ports: frozenset[int],
        sockets: ListeningSockets,
        certificates: UserCertificates | None,
        client_limits: ClientLimits,
    ) -> None:
        settings = self._settings
        self.relay = Relay(RelayLimits(idle_timeout_s=settings.relay.idle_timeout_s))
        context = WorkerContext(settings, self.database, lambda: self.watch.policy)
        step_ups = StepUpService(context)
        offers = RequestOffers(context, self.shells.list_targets, find_site_or_none(settings))
        requests = RequestService(context, read_step_up_rules(settings), offers)
        connector = make_connector(ports, self.shells)
        flow = self._build_flow(connector, step_ups, requests)
        endpoints = build_endpoints(settings, self._note, connector)
        self.tunnel_listener = TunnelListener(
            flow, self.relay, make_accept_rules(settings), endpoints, client_limits
        )
        problems = self._problems
        runs, self.run_watch = make_runs(context, flow, self._instance, problems, self._runner)
        parts = ListenerParts(
            context=context,
            flow=flow,
            note=self._note,
            recorder=self.recorder,
            step_ups=step_ups,
            requests=requests,
            runs=runs,
            certificates=certificates,
            client_limits=client_limits,
        )
        self.ssh = (
            build_ssh_listener(parts, sockets.ssh_addresses) if sockets.ssh_addresses else None
        )
        """None, as `web` is, if the settings name no address for it."""
        self.web: WebListener | None = None
        self._refresh: RefreshService | None = None
        if sockets.has_web:
            # Imported here, since its libraries would cost every worker memory.
            from stagedoor.serve.parts.web import build_web_listener

            self.web, self._refresh = build_web_listener(
                parts,
                sockets.tls,
                self._cluster,
                lambda identity: self.tally.add(metrics.SIGN_INS, identity.method),
            )

    def _build_flow(
        self, connector: TcpConnector, step_ups: StepUpService, requests: RequestService
    ) -> Flow:
        settings = self._settings
        return Flow(
            authenticator=self.authenticator,
            authoriser=Authoriser(
                lambda: self.watch.policy, time.time, read_step_up_rules(settings), self._grants
            ),
            policy=WatchedPolicy(self.watch),
            shells=MetricsShells(self.shells, self.tally),
            ledger=self.measured_ledger,
            connector=connector,
            registry=self.registry,
            now=time.time,
            write_line=make_line_writer(),
            start_timeout_s=settings.shells.start_timeout_s,
            step_ups=step_ups,
            access_requests=requests,
            on_trace=self._traces,
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
                self.registry.request_end(session_id, EndReason.REVOKED, denial.line)

    def renew_keys(self) -> None:
        """Renew the keys in local shells before they expire. Usually none are due.

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
            self.registry.request_end(request.session, EndReason.EVICTED, request.reason)

    def write_counts(self) -> None:
        """Write to the store how many bytes open sessions have moved. Raises StoreError; blocks."""
        now, counts = time.time(), self.registry.read_counts()
        while batch := tuple(islice(counts, COUNTS_AT_ONCE)):
            update_live(self.database, [Live(name, c.sent, c.received, now) for name, c in batch])
            self.measured_ledger.count_moved(batch)

    def read_gauges(self) -> dict[Series, float]:
        """Return this worker's gauges as they are now."""
        gauges: dict[Series, float] = {
            metrics.AUDIT_BACKLOG.make_series(): self.ledger.backlog,
            metrics.AUDIT_FAILING.make_series(): float(self.ledger.problem is not None),
            metrics.POLICY_AGE.make_series(): self.watch.measure_age_s(),
            metrics.POLICY_VERSION.make_series(): self.watch.last_policy.version,
            metrics.RECORDING.make_series(): len(self.recorder),
            metrics.WEBSOCKETS.make_series(): 0 if self.web is None else self.web.terminals,
            metrics.HOLDERS.make_series(): 0 if self.web is None else self.web.holders,
        }
        inside = self.measured_ledger.count_sessions()
        return gauges | {
            metrics.SESSIONS.make_series(access_method): count
            for access_method, count in inside.items()
        }

    def check_deliveries(self) -> None:
        """Refuse logins while an audit sink is further behind than `audit.refuse_after_s`.

        Blocks. Raises StoreError.
        """
        audit = self._settings.audit
        if audit.refuse_after_s is None:
            return
        sinks = tuple(sink.name for sink in audit.sinks)
        since = find_first_undelivered(self.database, sinks)
        late = since is not None and time.time() - since > audit.refuse_after_s
        why = "events have not reached every place that they must be sent to; try again later"
        self.ledger.refuse_logins(why if late else None)
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
            # A removed file shows that everything has ended properly. Otherwise the next start checks.
            self.held.release()
        return unwritten


def _build_authenticator(
    settings: Settings, watch: PolicyWatch, database: Database
) -> Authenticator:
    return Authenticator(
        lambda: watch.policy,
        time.time,
        trust=make_trust_reader(settings),
        last_policy=lambda: watch.last_policy,
        find_sign_in=lambda number: call_blocking(
            find_sign_in_by_number, database, number, time.time()
        ),
        find_login=lambda secret: call_blocking(passes.find, database, KeyLogin, secret),
        stale_s={provider.name: provider.stale_s for provider in settings.sso},
    )


def _build_traces(
    settings: Settings, instance: str, problems: ProblemLog
) -> "TraceExporter | None":
    """Return the exporter of logins' steps, or None if `traces.url` is not set."""
    if settings.traces.url is None:
        return None
    # Imported here, since its libraries are an extra and would cost every worker memory.
    from stagedoor.serve.traces import TraceExporter

    return TraceExporter(settings.traces, instance, partial(problems, "traces"))
