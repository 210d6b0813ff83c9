"""`stagedoor controller`: the controller's parts, put together and run."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus

import structlog

from stagedoor.admin.certificates.authorities import host_ca, public_half
from stagedoor.admin.certificates.revoked import revoked_sign_ins
from stagedoor.admin.kubernetes import cluster_of, defaults_of, election_of, kit_of, replica
from stagedoor.authz.admitted import admitted
from stagedoor.controller.guard import LeaderOnly
from stagedoor.controller.loop import Controller
from stagedoor.controller.make import ShellWriter
from stagedoor.controller.metrics import Metrics
from stagedoor.controller.mirrors import NOT_LISTED_YET
from stagedoor.keys.ca import CertificateAuthority
from stagedoor.keys.files import new_key, private_text, public_line
from stagedoor.kube.cluster import KubeCluster
from stagedoor.listeners.health import HealthListener, Page
from stagedoor.model.admission import Admission
from stagedoor.model.errors import SettingsError, StagedoorError
from stagedoor.model.policy import Policy
from stagedoor.model.target import Target
from stagedoor.model.units import DAY_S
from stagedoor.serve import log
from stagedoor.serve.problem_log import ProblemLog
from stagedoor.serve.process import run_process
from stagedoor.serve.supervisor.control import Failed, StartMessage, line, read_to_worker
from stagedoor.serve.waiting import once_reachable
from stagedoor.settings.file import parse_settings
from stagedoor.settings.form import split_address
from stagedoor.settings.settings import Settings
from stagedoor.shells.kubernetes.derive.kit import Kit
from stagedoor.shells.kubernetes.live.leader import MAX_NAMED, report_of
from stagedoor.shells.kubernetes.names import NAMESPACES
from stagedoor.store.database import Database, open_database
from stagedoor.store.liveness.instances import new_instance_id
from stagedoor.store.watch import PolicyWatch
from stagedoor.wire.openmetrics import CONTENT_TYPE

HOST_CERTIFICATE_S = 365 * DAY_S
"""A shell gets a new one at each start from zero; one that is kept warm lives long."""


class ControllerManager:
    """Stands by, leads, and works while it leads. One in a process. Raises StagedoorError."""

    def __init__(self, settings: Settings, *, health: bool) -> None:
        """`health`: answer probes where the settings say."""
        self._settings = settings
        self._log = structlog.get_logger()
        kit = kit_of(settings)
        if kit is None:
            raise SettingsError(
                "shells need the image of the sshd kit: name it in [controller] kit_image "
                "(deploy/kit builds it)"
            )
        self._kit: Kit = kit
        self._on_problem = ProblemLog(self._log)
        self._identity = f"{replica()}-{new_instance_id()}"
        # First what must be there already: on a machine without it no second host CA may be made.
        self._user_ca = _user_ca_line(settings)
        self._host_ca: CertificateAuthority = host_ca(settings)
        self._cluster: KubeCluster = cluster_of(
            settings, "stagedoor-controller", self._identity, self._on_problem
        )
        self.database: Database | None = None
        self.watch: PolicyWatch | None = None
        self._revoked: Mapping[str, Sequence[int]] = {}
        """`Admission.revoked` by user, as of the last change of the policy: the end of a sign-in is one."""
        self._metrics = Metrics()
        self._election = election_of(
            settings,
            self._cluster,
            self._identity,
            lambda problem: self._on_problem("election", problem),
            annotations=self._annotations,
        )
        self._controller: Controller | None = None
        self._waits_for_store = False
        self._health = HealthListener(self._pages()) if health else None

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. The lease is let go then, so that another takes over at once."""
        settings, stop = self._settings, asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.set_exception_handler(self._on_fault)
        if self._health is not None and settings.health.address is not None:
            await self._health.start(*split_address(settings.health.address))
        try:
            await once_reachable(self.read_policy, self._on_store_problem, stop)
            if not stop.is_set():
                await self._work_until(stop)
        finally:
            await self.close()
        self._log.info("controller stopped")

    async def close(self) -> None:
        """Let go of the probes' listener, the cluster and the store."""
        if self._health is not None:
            await self._health.close()
        await self._cluster.close()
        await asyncio.to_thread(self._close_store)

    async def _work_until(self, stop: asyncio.Event) -> None:
        running = asyncio.create_task(self._election.run(self._lead))
        stopping = asyncio.create_task(stop.wait())
        self._log.info("controller stands by", identity=self._identity, api=self._cluster.address)
        try:
            await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            stopping.cancel()

    def read_policy(self) -> None:
        """Open the store and read the policy from now on. Raises StoreError."""
        database = open_database(self._settings.place)
        try:
            watch = PolicyWatch(
                database,
                self._identity,
                on_change=self._on_policy,
                on_close_requests=lambda _: None,
                on_problem=self._on_policy_problem,
            )
            self._revoked = revoked_sign_ins(database, watch.last_policy, time.time())
        except BaseException:
            database.close()
            raise
        self.database, self.watch = database, watch
        watch.start()

    def admitted(self, target: Target) -> tuple[Admission, ...]:
        """Who may log in to a shell, by the policy as it was last read: a store that is away must not
        empty the keys of shells with people in them. Whom the gateway lets in is for the gateway."""
        assert self.watch is not None, "nothing is made before the policy was read"
        policy, revoked = self.watch.last_policy, self._revoked
        prefix = self._settings.keys.principal_prefix or ""
        return admitted(policy, target, time.time(), revoked=revoked, prefix=prefix)

    async def _lead(self) -> None:
        """Work until somebody else leads, or it is over."""
        self._log.info("controller leads", identity=self._identity)
        cluster = LeaderOnly(self._cluster, lambda: self._election.leads)
        controller = Controller(
            cluster,
            self._settings.kubernetes.by_environment,
            ShellWriter(
                cluster,
                self._new_host_key,
                self.admitted,
                (self._user_ca,),
                self._identity,
                self._settings.controller.keys_lease_s,
            ),
            self._kit,
            on_problem=self._on_target_problem,
            defaults=defaults_of(self._settings),
            metrics=self._metrics,
            leaving=self._settings.kubernetes.leaving,
        )
        self._controller = controller
        try:
            await controller.run()
        finally:
            self._controller = None
            self._metrics.stand_by()
            self._log.info("controller leads no more", identity=self._identity)

    def _new_host_key(self, names: tuple[str, ...]) -> tuple[bytes, str]:
        key = new_key()
        certificate = self._host_ca.sign_host(public_line(key), names, HOST_CERTIFICATE_S)
        return private_text(key), certificate

    def _on_policy(self, policy: Policy) -> None:
        assert self.database is not None, "nothing is told before the store was read"
        self._revoked = revoked_sign_ins(self.database, policy, time.time())
        self._log.info("policy changed", version=policy.version)
        controller = self._controller
        if controller is not None:
            controller.refresh()

    def _on_policy_problem(self, problem: str | None) -> None:
        self._on_problem("policy", problem)
        controller = self._controller
        if problem is None and controller is not None:
            controller.refresh()  # what was to be written meanwhile may have been put off

    def _on_store_problem(self, problem: str | None) -> None:
        self._waits_for_store = problem is not None
        self._on_problem("store", problem)

    def _on_target_problem(self, target: Target, problem: str, again_in_s: float) -> None:
        self._log.error(
            "shell cannot be seen to",
            target=target.host_name,
            reason=problem,
            again_in_s=round(again_in_s, 1),
        )

    def _on_fault(self, _: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        self._log.error(str(context.get("message")), exc_info=context.get("exception"))

    def _pages(self) -> dict[str, Callable[[], Page]]:
        return {
            "/healthz": lambda: Page("alive\n"),
            "/readyz": self._readiness,
            "/metrics": lambda: Page(self._measured(), content_type=CONTENT_TYPE),
        }

    def _annotations(self) -> Mapping[str, str | None]:
        """Return what the lease says of the namespaces; the next leader says it of its own."""
        controller = self._controller
        if controller is None:
            return {NAMESPACES: None}
        served = controller.measure().served
        return {NAMESPACES: report_of(served, controller.unserved())}

    def _readiness(self) -> Page:
        """Return whether this replica is of use: one that stands by is, one that leads once it serves a
        namespace. One namespace that cannot be listed must not hold up a roll-out."""
        controller = self._controller
        if self._waits_for_store:
            text = "waiting for the store, which cannot be reached; the log says why\n"
            return Page(text, HTTPStatus.SERVICE_UNAVAILABLE)
        if controller is None:
            return Page("standing by\n")
        unserved = controller.unserved()
        lines = [f"{name}: {problem}\n" for name, problem in list(unserved.items())[:MAX_NAMED]]
        if not controller.measure().leading or NOT_LISTED_YET in unserved.values():
            text = f"leading, and not all is listed yet\n{''.join(lines)}"
            return Page(text, HTTPStatus.SERVICE_UNAVAILABLE)
        if not unserved:
            return Page("leading\n")
        return Page(f"leading; {len(unserved)} namespaces are not served\n{''.join(lines)}")

    def _measured(self) -> str:
        if self._controller is not None:
            self._controller.measure()
        self._metrics.requests = self._cluster.asked
        return self._metrics.text()

    def _close_store(self) -> None:
        if self.watch is not None:
            self.watch.stop()
        if self.database is not None:
            self.database.close()


def _user_ca_line(settings: Settings) -> str:
    """The user CA's public key. Raises StagedoorError."""
    file = settings.user_ca_file
    try:
        return public_half(file)
    except StagedoorError as error:
        raise SettingsError(
            f"the controller needs the installation's user CA, or its public half: {error}; "
            "`stagedoor serve` makes it at its first start, keys.user_ca_file names it"
        ) from None


async def run_controller(settings: Settings) -> None:
    """Run the controller until a signal ends it. Raises StagedoorError when it cannot start."""
    log.configure(settings.log)
    await ControllerManager(settings, health=True).run()


async def _beside(begin: StartMessage) -> None:
    """The same as a process of `stagedoor serve`, whose end is ours."""
    settings = parse_settings(begin.settings, begin.settings_name)
    log.configure(settings.log)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    running = asyncio.create_task(ControllerManager(settings, health=False).run())
    alone = asyncio.create_task(reader.read())
    await asyncio.wait((running, alone), return_when=asyncio.FIRST_COMPLETED)
    if not running.done():
        running.cancel()
    alone.cancel()
    with suppress(asyncio.CancelledError):
        await running


def main() -> None:
    """Entry point of the process that `controller_process` starts: `StartMessage` comes on stdin, what keeps
    us from starting goes to stdout."""
    first = read_to_worker(sys.stdin.buffer.readline())
    try:
        assert isinstance(first, StartMessage), "the start message comes first"
        run_process(_beside(first))
    except (StagedoorError, OSError) as error:
        os.write(sys.stdout.fileno(), line(Failed(str(error))))
        sys.exit(error.exit_code if isinstance(error, StagedoorError) else 1)


if __name__ == "__main__":
    main()
