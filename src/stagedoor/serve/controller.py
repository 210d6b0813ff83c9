"""The process of `stagedoor controller`, which constructs the controller's parts and runs them."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

import structlog

from stagedoor.admin.certificates.authorities import load_host_ca, read_public_half
from stagedoor.admin.certificates.revocation import list_revoked_sign_ins
from stagedoor.admin.kubernetes import (
    build_election,
    connect_cluster,
    find_replica_name,
    list_namespaces,
    read_defaults,
    read_kit,
)
from stagedoor.admin.runs import StoredRunRecords
from stagedoor.authz.admissions import list_admissions
from stagedoor.controller.loop import Controller, LeaderOnly
from stagedoor.controller.metrics import Metrics
from stagedoor.controller.mirrors import NOT_LISTED_YET
from stagedoor.controller.shell_writer import ShellWriter
from stagedoor.keys.ca import CertificateAuthority
from stagedoor.keys.files import encode_private, format_public_line, make_key
from stagedoor.kube.cluster import KubeCluster
from stagedoor.listeners.health import HealthListener, HealthPage
from stagedoor.model.denial import Denial
from stagedoor.model.errors import SettingsError, StagedoorError
from stagedoor.model.grant import Admission
from stagedoor.model.policy import Policy
from stagedoor.model.run import RunOrder, RunState
from stagedoor.model.target import Target
from stagedoor.model.units import DAY_S
from stagedoor.serve import log
from stagedoor.serve.problem_log import ProblemLog
from stagedoor.serve.process import (
    call_when_reachable,
    listen_for_stop,
    run_process,
    run_until,
)
from stagedoor.serve.supervisor.control import Failed, StartMessage, encode_line, read_to_worker
from stagedoor.settings.file import parse_settings
from stagedoor.settings.form import split_address
from stagedoor.settings.settings import Settings
from stagedoor.shells.kubernetes.derive.kit import Kit
from stagedoor.shells.kubernetes.live.leader import MAX_NAMED, format_report
from stagedoor.shells.kubernetes.names import NAMESPACES
from stagedoor.store.database import Database, open_database
from stagedoor.store.liveness.instances import make_instance_id
from stagedoor.store.watch import PolicyWatch
from stagedoor.wire.http.openmetrics import CONTENT_TYPE

HOST_CERTIFICATE_S = 365 * DAY_S
"""Long enough for a shell that is kept warm. Any other gets a new certificate each time it starts."""


class ControllerManager:
    """A replica of the controller, which works while it leads and otherwise stands by. One per process."""

    def __init__(self, settings: Settings, *, health: bool) -> None:
        """Create the parts. `health`: answer probes at `health.address`. Raises StagedoorError."""
        self._settings = settings
        self._log = structlog.get_logger()
        kit = read_kit(settings)
        if kit is None:
            raise SettingsError(
                "shells need the image of the sshd kit: name it in [controller] kit_image "
                "(deploy/kit builds it)"
            )
        self._kit: Kit = kit
        self._on_problem = ProblemLog(self._log)
        self._identity = f"{find_replica_name()}-{make_instance_id()}"
        # The user CA comes first, because it must exist: a machine without it must not create a second host
        # CA.
        self._user_ca = _user_ca_line(settings)
        self._host_ca: CertificateAuthority = load_host_ca(settings)
        self._cluster: KubeCluster = connect_cluster(
            settings, "stagedoor-controller", self._identity, self._on_problem
        )
        self.database: Database | None = None
        self.watch: PolicyWatch | None = None
        self._revoked: Mapping[str, Sequence[int]] = {}
        """`Admission.revoked` by user, read again at each change of the policy, such as the end of a
        sign-in."""
        self._metrics = Metrics()
        self._election = build_election(
            settings,
            self._cluster,
            self._identity,
            lambda problem: self._on_problem("election", problem),
            annotations=self._make_annotations,
        )
        self._controller: Controller | None = None
        self._waits_for_store = False
        self._health = HealthListener(self._make_pages()) if health else None

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, then release the lease, so that another replica takes over at once."""
        stop, address = listen_for_stop(), self._settings.health.address
        asyncio.get_running_loop().set_exception_handler(self._on_fault)
        if self._health is not None and address is not None:
            await self._health.start(*split_address(address))
        try:
            await call_when_reachable(self.read_policy, self._on_store_problem, stop)
            if not stop.is_set():
                self._log.info(
                    "controller stands by", identity=self._identity, api=self._cluster.address
                )
                await run_until(stop.wait(), self._election.run(self._lead))
        finally:
            await self.close_parts()
        self._log.info("controller stopped")

    async def close_parts(self) -> None:
        """Close the probes' listener, the connections to the cluster, and the store."""
        if self._health is not None:
            await self._health.close()
        await self._cluster.close_connections()
        await asyncio.to_thread(self._close_store)

    def read_policy(self) -> None:
        """Open the store, read the policy and keep it up to date. Raises StoreError."""
        database = open_database(self._settings.store_location)
        try:
            watch = PolicyWatch(
                database,
                self._identity,
                on_change=self._on_policy,
                on_close_requests=lambda _: None,
                on_problem=self._on_policy_problem,
            )
            self._revoked = list_revoked_sign_ins(database, watch.last_policy, time.time())
        except BaseException:
            database.close()
            raise
        self.database, self.watch = database, watch
        watch.start()

    def list_admissions(self, target: Target) -> tuple[Admission, ...]:
        """Return the users who may log in to a shell, according to the policy as last read.

        An unreachable store must not remove the keys from shells in which people work. The gateway still
        decides on each login.
        """
        assert self.watch is not None, "nothing is made before the policy was read"
        policy, revoked = self.watch.last_policy, self._revoked
        prefix = self._settings.keys.principal_prefix or ""
        return list_admissions(policy, target, time.time(), revoked=revoked, prefix=prefix)

    async def _lead(self) -> None:
        """Run the controller until this is cancelled, when another replica leads or this one stops."""
        self._log.info("controller leads", identity=self._identity)
        cluster = LeaderOnly(self._cluster, lambda: self._election.leads)
        controller = Controller(
            cluster,
            list_namespaces(self._settings),
            ShellWriter(
                cluster,
                self._new_host_key,
                self.list_admissions,
                (self._user_ca,),
                self._identity,
            ),
            self._kit,
            on_problem=self._on_target_problem,
            defaults=read_defaults(self._settings),
            metrics=self._metrics,
            leaving=self._settings.kubernetes.leaving,
            find_order=self._find_order,
        )
        self._controller = controller
        try:
            await controller.run()
        finally:
            self._controller = None
            self._metrics.clear_gauges()
            self._log.info("controller leads no more", identity=self._identity)

    async def _find_order(self, run_id: str) -> RunOrder | None:
        """Return the order of a run that should start, or None if the store has none."""
        assert self.database is not None, "nothing is made before the store was read"
        records = StoredRunRecords(self.database, self._identity, time.time)
        runs = await records.find(run_id)
        if isinstance(runs, Denial) or not runs:
            return None
        (run, *_) = runs
        if run.id != run_id or run.state is not RunState.STARTING:
            return None
        return run.order

    def _new_host_key(self, names: tuple[str, ...]) -> tuple[bytes, str]:
        key = make_key()
        certificate = self._host_ca.sign_host(format_public_line(key), names, HOST_CERTIFICATE_S)
        return encode_private(key), certificate

    def _on_policy(self, policy: Policy) -> None:
        assert self.database is not None, "no policy is published before the store was read"
        self._revoked = list_revoked_sign_ins(self.database, policy, time.time())
        self._log.info("policy changed", version=policy.version)
        controller = self._controller
        if controller is not None:
            controller.refresh()

    def _on_policy_problem(self, problem: str | None) -> None:
        self._on_problem("policy", problem)
        controller = self._controller
        if problem is None and controller is not None:
            controller.refresh()  # writes that were due meanwhile may have been postponed

    def _on_store_problem(self, problem: str | None) -> None:
        self._waits_for_store = problem is not None
        self._on_problem("store", problem)

    def _on_target_problem(self, target: Target, problem: str, again_in_s: float) -> None:
        self._log.error(
            "shell cannot be reconciled",
            target=target.host_name,
            reason=problem,
            again_in_s=round(again_in_s, 1),
        )

    def _on_fault(self, _: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        self._log.error(str(context.get("message")), exc_info=context.get("exception"))

    def _make_pages(self) -> dict[str, Callable[[], HealthPage]]:
        return {
            "/healthz": lambda: HealthPage("alive\n"),
            "/readyz": self._report_readiness,
            "/metrics": lambda: HealthPage(self._render_metrics(), content_type=CONTENT_TYPE),
        }

    def _make_annotations(self) -> Mapping[str, str | None]:
        """Return the lease's annotation about the served namespaces; each leader writes its own."""
        controller = self._controller
        if controller is None:
            return {NAMESPACES: None}
        served = controller.measure().served
        return {
            NAMESPACES: format_report(served, controller.list_unserved(), controller.count_ending())
        }

    def _report_readiness(self) -> HealthPage:
        """Return the answer to a readiness probe.

        A replica that stands by is ready. A leader is ready once it serves any namespace: a single one that
        cannot be listed must not hold up a roll-out.
        """
        controller = self._controller
        if self._waits_for_store:
            text = "waiting for the store, which cannot be reached; the log says why\n"
            return HealthPage(text, HTTPStatus.SERVICE_UNAVAILABLE)
        if controller is None:
            return HealthPage("standing by\n")
        unserved = controller.list_unserved()
        lines = [f"{name}: {problem}\n" for name, problem in list(unserved.items())[:MAX_NAMED]]
        if not controller.measure().leading or NOT_LISTED_YET in unserved.values():
            text = f"leading, and not all is listed yet\n{''.join(lines)}"
            return HealthPage(text, HTTPStatus.SERVICE_UNAVAILABLE)
        if not unserved:
            return HealthPage("leading\n")
        return HealthPage(f"leading; {len(unserved)} namespaces are not served\n{''.join(lines)}")

    def _render_metrics(self) -> str:
        if self._controller is not None:
            self._controller.measure()
        self._metrics.requests = self._cluster.requests
        return self._metrics.to_text()

    def _close_store(self) -> None:
        if self.watch is not None:
            self.watch.stop()
        if self.database is not None:
            self.database.close()


def _user_ca_line(settings: Settings) -> str:
    """Return the user CA's public key as a line. Raises StagedoorError."""
    file = settings.user_ca_file
    try:
        return read_public_half(file)
    except StagedoorError as error:
        raise SettingsError(
            f"the controller needs the installation's user CA, or its public half: {error}; "
            "`stagedoor serve` creates it at its first start, keys.user_ca_file names it"
        ) from None


async def run_controller(settings: Settings) -> None:
    """Run the controller until a signal ends it. Raises StagedoorError if it cannot start."""
    log.configure(settings.log)
    await ControllerManager(settings, health=True).run()


async def _run_beside_workers(begin: StartMessage) -> None:
    """Run the controller as a process of `stagedoor serve`, and stop when that closes stdin."""
    settings = parse_settings(begin.settings, begin.settings_name)
    log.configure(settings.log)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    manager = ControllerManager(settings, health=False)
    await run_until(reader.read(), manager.run())


def main() -> None:
    """Run the process that `supervisor.side_services` starts.

    It reads a `StartMessage` from stdin, and writes `Failed` to stdout if it cannot start.
    """
    first = read_to_worker(sys.stdin.buffer.readline())
    try:
        assert isinstance(first, StartMessage), "the start message comes first"
        run_process(_run_beside_workers(first))
    except (StagedoorError, OSError) as error:
        os.write(sys.stdout.fileno(), encode_line(Failed(str(error))))
        sys.exit(error.exit_code if isinstance(error, StagedoorError) else 1)


if __name__ == "__main__":
    main()
