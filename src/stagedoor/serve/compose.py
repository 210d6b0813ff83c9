"""One worker's parts, put together: the only file that names the concrete classes."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from stagedoor.audit.ledger import AuditLedger
from stagedoor.authn.authenticator import Authenticator
from stagedoor.authn.throttle import ThrottleLimits
from stagedoor.authz.authoriser import Authoriser
from stagedoor.listeners.ssh.listener import SshListener
from stagedoor.listeners.tunnel import TunnelLimits, TunnelListener
from stagedoor.model.policy import Policy
from stagedoor.model.session import End
from stagedoor.net.dial import Dialer
from stagedoor.net.local import is_this_machine
from stagedoor.net.resolve import Resolver
from stagedoor.net.tls import ServerTls
from stagedoor.recording.recorder import Recorder
from stagedoor.relay.limits import RelayLimits
from stagedoor.relay.loop import Relay
from stagedoor.serve.direct import direct_login, recorder_of
from stagedoor.serve.heartbeat import heartbeat_of
from stagedoor.serve.log import write_line
from stagedoor.serve.problem_log import ProblemLog
from stagedoor.serve.shells import shells_of
from stagedoor.serve.ssh import ssh_listener, trust_of
from stagedoor.session.connect import Connector
from stagedoor.session.flow import Flow
from stagedoor.session.registry import Registry
from stagedoor.settings.settings import Settings, networks
from stagedoor.shells.ports import Shells
from stagedoor.store.database import Database, open_database
from stagedoor.store.heartbeat import Heartbeat
from stagedoor.store.instances import HeldInstance, hold_instance, instances_folder
from stagedoor.store.journal import StoreJournal
from stagedoor.store.sessions import CloseRequest, Live, update_live
from stagedoor.store.watch import PolicyWatch

if TYPE_CHECKING:
    from stagedoor.listeners.web.listener import WebListener

FLUSH_S = 5.0


@dataclass(frozen=True, slots=True)
class Web:
    """That the web is answered, and with which TLS, None for none."""

    tls: ServerTls | None


@dataclass(frozen=True)
class Gateway:
    """The running parts of one worker."""

    listener: TunnelListener
    registry: Registry
    relay: Relay
    ledger: AuditLedger
    watch: PolicyWatch
    authenticator: Authenticator
    database: Database
    held: HeldInstance
    heartbeat: Heartbeat | None
    """For a store that machines share."""
    recorder: Recorder
    shells: Shells
    """Closed by the event loop that they belong to, before `close`."""
    ssh: SshListener | None = None
    """None where the settings name no address for it."""
    web: "WebListener | None" = None
    """The same."""

    def write_counts(self) -> None:
        """Tell the store how many bytes live sessions have moved. Raises StoreError; blocks."""
        now = time.time()
        counts = self.registry.counts()
        update_live(self.database, [Live(name, c.sent, c.received, now) for name, c in counts])
        self.registry.told(counts)

    def close(self) -> int:
        """Let go of everything, in order; how many audit events could not be written. Blocks."""
        self.relay.close()
        self.watch.stop()
        self.recorder.stop(FLUSH_S)
        unwritten = self.ledger.stop(FLUSH_S)
        self.authenticator.close()
        if self.heartbeat is not None:
            self.heartbeat.stop(in_order=unwritten == 0)
        self.database.close()
        if unwritten == 0:
            # A sign that is taken down says that all ended in order; else the next start looks.
            self.held.close()
        return unwritten


def compose(
    settings: Settings,
    instance: str,
    ports: frozenset[int],
    ssh_addresses: tuple[str, ...] = (),
    web: Web | None = None,
) -> Gateway:
    """Build a worker's parts and start their threads.

    `ports` are those that this gateway itself listens on, `ssh_addresses` where it answers SSH.
    `web` is None where it does not answer the web.
    Raises StagedoorError.
    """
    log = structlog.get_logger()
    held = hold_instance(instances_folder(settings.data_dir), instance)
    database = open_database(settings.place)

    on_problem = ProblemLog(log)

    def on_change(policy: Policy) -> None:
        closed = registry.review()
        try:
            shells.local.refresh()
        except OSError as error:
            on_problem("local shells' keys", str(error))
        else:
            on_problem("local shells' keys", None)
        log.info(
            "policy changed",
            version=policy.version,
            sessions_closed=closed,
            instance=instance,
        )

    def on_close_requests(requests: tuple[CloseRequest, ...]) -> None:
        for request in requests:
            registry.close(request.session, End.EVICTED, request.reason)

    watch = PolicyWatch(
        database,
        instance,
        on_change=on_change,
        on_close_requests=on_close_requests,
        on_problem=lambda problem: on_problem("policy", problem),
    )
    authoriser = Authoriser(lambda: watch.policy, time.time)
    authenticator = Authenticator(
        lambda: watch.policy,
        time.time,
        throttle=ThrottleLimits(
            free_tries=settings.throttle.free_tries,
            longest_wait_s=settings.throttle.longest_wait_s,
        ),
        trust=trust_of(settings),
        last_policy=lambda: watch.last_policy,
        away=lambda: watch.closed,
    )

    # By the policy as it was last read: a store that fails lets nobody in, but cuts nobody off.
    judge = Authoriser(lambda: watch.last_policy, time.time)
    registry = Registry(judge.again, time.time)
    ledger = AuditLedger(
        StoreJournal(database), instance, on_problem=lambda problem: on_problem("audit", problem)
    )
    kubernetes = None
    if settings.kubernetes.namespaces:
        # Here, since its libraries are an extra and cost every worker memory.
        from stagedoor.admin.kubernetes import kubernetes_shells

        kubernetes = kubernetes_shells(settings, instance, on_problem)
        kubernetes.start()
    shells = shells_of(settings, lambda: watch.policy, kubernetes)
    shells.local.refresh()
    relay = Relay(RelayLimits(idle_timeout_s=settings.relay.idle_timeout_s))
    flow = Flow(
        authenticator=authenticator,
        authoriser=authoriser,
        shells=shells.shells,
        ledger=ledger,
        connector=Connector(
            resolver=Resolver(),
            dialer=Dialer(),
            is_gateway=lambda address, port: port in ports and is_this_machine(address),
            dial_timeout_s=settings.shells.dial_timeout_s,
            find=shells.shells.resolve,
        ),
        registry=registry,
        now=time.time,
        write_line=write_line,
        start_timeout_s=settings.shells.start_timeout_s,
    )
    listener = TunnelListener(
        flow,
        relay,
        TunnelLimits(
            networks=networks(settings.listen.networks),
            proxy_protocol_from=networks(settings.listen.proxy_protocol_from),
            header_timeout_s=settings.listen.header_timeout_s,
            max_pending=settings.listen.max_pending,
        ),
    )
    recorder = recorder_of(settings, ledger.note)
    ssh = None
    if ssh_addresses:
        direct = direct_login(settings, ledger.note, recorder)
        ssh = ssh_listener(settings, flow, ssh_addresses, direct)
    web_shell = None
    if web is not None:
        # Here, since its libraries cost every worker memory.
        from stagedoor.serve.web import web_listener

        web_shell = web_listener(
            settings, flow, database, lambda: watch.policy, web.tls, recorder, ledger.note
        )
    ledger.start()
    watch.start()
    recorder.start()
    return Gateway(
        listener=listener,
        registry=registry,
        relay=relay,
        ledger=ledger,
        watch=watch,
        authenticator=authenticator,
        database=database,
        held=held,
        heartbeat=heartbeat_of(settings, database, instance, registry, on_problem),
        recorder=recorder,
        shells=shells.shells,
        ssh=ssh,
        web=web_shell,
    )
