"""The shells in the settings as one source, and the holders of terminals in them."""

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from stagedoor.admin.certificates.authorities import load_host_ca, read_user_ca
from stagedoor.authz.admissions import BoundKeys, list_admissions
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Admission, Grant
from stagedoor.model.policy import Policy
from stagedoor.model.shell import Progress, Shell, ShellState
from stagedoor.model.target import Target
from stagedoor.model.units import DAY_S
from stagedoor.net.dial import Dialer, is_this_machine
from stagedoor.net.resolve import Resolver
from stagedoor.resume.messages import stop_endpoint
from stagedoor.serve.problem_log import ProblemLog
from stagedoor.settings.settings import Settings, parse_networks
from stagedoor.shells.local.adapter import LocalShells
from stagedoor.shells.local.runner import LocalRunner
from stagedoor.shells.local.settings import LocalShell
from stagedoor.shells.ports import Shells
from stagedoor.shells.static import StaticShells
from stagedoor.store.database import Database
from stagedoor.upstream.connect import TcpConnector

if TYPE_CHECKING:
    from stagedoor.shells.kubernetes.adapter import KubernetesShells
    from stagedoor.shells.kubernetes.live.runs.runner import KubernetesRunner


class ShellDirectory:
    """A `shells.ports.Shells` that uses the first of `adapters` that has the target.

    If none has it, the last adapter refuses, since its message best explains how to add such an app.
    """

    def __init__(self, adapters: Sequence[Shells]) -> None:
        self._adapters = tuple(adapters)

    def list_targets(self) -> tuple[Target, ...]:
        """Return the targets of all adapters, sorted."""
        of_each = [targets for adapter in self._adapters if (targets := adapter.list_targets())]
        if len(of_each) == 1:
            return of_each[0]  # the fifty thousand of a cluster are sorted already
        return tuple(sorted({target for targets in of_each for target in targets}, key=str))

    def has_target(self, target: Target) -> bool:
        """Return whether an adapter has the target."""
        return any(adapter.has_target(target) for adapter in self._adapters)

    def find_ready(self, grant: Grant) -> Shell | None:
        """Return the shell if `ensure` would return it at once, else None."""
        return self._of(grant.target).find_ready(grant)

    async def ensure(self, grant: Grant, progress: Progress) -> Shell | Denial:
        """Return the shell once its sshd answers; see `Shells`."""
        return await self._of(grant.target).ensure(grant, progress)

    async def resolve(self, target: Target) -> Shell | None:
        """Return the running shell, or None."""
        return await self._of(target).resolve(target)

    async def observe(self, target: Target) -> ShellState:
        """Return the state of the shell."""
        return await self._of(target).observe(target)

    def find_notice(self, target: Target) -> str | None:
        """Return the shell's notice, or None."""
        return self._of(target).find_notice(target)

    def touch(self, target: Target) -> None:
        """Count a new session in the shell."""
        self._of(target).touch(target)

    def release(self, target: Target) -> None:
        """Count the end of a session in the shell."""
        self._of(target).release(target)

    async def stop_watching(self) -> None:
        """Close every adapter."""
        for adapter in self._adapters:
            await adapter.stop_watching()

    def _of(self, target: Target) -> Shells:
        for adapter in self._adapters:
            if adapter.has_target(target):
                return adapter
        return self._adapters[-1]


HOST_CERTIFICATE_S = 365 * DAY_S
IN_THE_KIT = ("/kit/bin/hold",)
"""The holder that `deploy/kit` puts into every pod. It is read-only, so that no app's image can replace
it."""
HERE = (sys.executable, "-m", "stagedoor.holder")


@dataclass(frozen=True, slots=True)
class AllShells:
    """All shells as one source, and separately the local ones, whose files must be refreshed."""

    shells: Shells
    local: LocalShells


def build_shells(
    settings: Settings, policy: Callable[[], Policy], kubernetes: Shells | None = None
) -> AllShells:
    """Return the shells of `settings`, together with those of a cluster.

    `policy` returns the current policy. Raises StagedoorError.
    """
    static = StaticShells(
        Shell(
            Target(entry.app, entry.environment),
            entry.host,
            entry.port,
            networks=parse_networks(entry.networks),
            resume_port=entry.resume_port,
        )
        for entry in settings.shells.static
    )
    local = LocalShells(
        list_local_shells(settings),
        settings.data_dir / "shells",
        user_ca_lines=cache(lambda: (read_user_ca(settings),)),
        sign_host=lambda key, principals: load_host_ca(settings).sign_host(
            key, principals, HOST_CERTIFICATE_S
        ),
        admitted=_admitting(policy, settings.keys.principal_prefix or ""),
        start_timeout_s=settings.shells.start_timeout_s,
    )
    # A cluster comes last, since its refusal of unknown apps says how to add one.
    cluster = [] if kubernetes is None else [kubernetes]
    return AllShells(ShellDirectory([static, local, *cluster]), local)


def list_local_shells(settings: Settings) -> tuple[LocalShell, ...]:
    """Return the shells on this machine."""
    return tuple(
        LocalShell(
            app=entry.app,
            environment=entry.environment,
            env=entry.env,
            directory=str(entry.directory) if entry.directory else None,
            login_shell=str(entry.login_shell) if entry.login_shell else None,
        )
        for entry in settings.shells.local
    )


def open_local_runner(settings: Settings) -> LocalRunner:
    """Return the runner for this machine."""
    return LocalRunner(list_local_shells(settings), settings.data_dir / "runs")


def _admitting(
    policy: Callable[[], Policy], prefix: str
) -> Callable[[Target], tuple[Admission, ...]]:
    """Return a function that finds the users that the current policy lets into a local shell."""
    keys = BoundKeys()

    def find_admitted(target: Target) -> tuple[Admission, ...]:
        present, now = policy(), time.time()
        return list_admissions(present, target, now, keys.list_keys(present, now), prefix=prefix)

    return find_admitted


def make_connector(ports: frozenset[int], shells: Shells) -> TcpConnector:
    """Return a connector to `shells` that never dials this gateway's own `ports`."""
    return TcpConnector(
        resolve=Resolver().resolve,
        dial=Dialer().dial,
        is_gateway=lambda address, port: port in ports and is_this_machine(address),
        find=shells.resolve,
    )


def resume_folder(settings: Settings) -> Path:
    """Return the folder of the endpoint of resumable tunnels."""
    return settings.data_dir / "resume"


def stop_local_shells(settings: Settings) -> None:
    """Stop what would outlive the gateway: local shells, runs, and resumable tunnels. Blocks."""
    stop_endpoint(resume_folder(settings))
    open_local_runner(settings).stop_all()
    build_shells(settings, Policy).local.stop_all()


def make_holder_finder(settings: Settings) -> Callable[[Target], Sequence[str] | None]:
    """Return a function that maps a target to the command of its holder, or to None if it has none."""
    known: dict[Target, Sequence[str] | None] = {
        Target(entry.app, entry.environment): shlex.split(entry.holder) if entry.holder else None
        for entry in settings.shells.static
    }
    known |= {Target(entry.app, entry.environment): HERE for entry in settings.shells.local}
    wanted = settings.kubernetes

    def find_holder_command(target: Target) -> Sequence[str] | None:
        if target in known:
            return known[target]
        is_known = wanted.namespace_selector or (target.environment or "") in wanted.namespaces
        return IN_THE_KIT if is_known else None

    return find_holder_command


def start_kubernetes_shells(
    settings: Settings, database: Database, instance: str, problems: ProblemLog
) -> "tuple[KubernetesShells, KubernetesRunner] | None":
    """Start and return the cluster's shells and runs, or None if the settings name no namespace."""
    if not settings.kubernetes.is_used:
        return None
    # Imported here, since its libraries are an extra and would cost every worker memory.
    from stagedoor.admin.kubernetes import build_runner, build_shells
    from stagedoor.admin.runs import StoredRunRecords

    shells = build_shells(settings, instance, problems)
    find_runs = StoredRunRecords(database, instance, time.time).find
    runner = build_runner(settings, shells, find_runs, instance, problems)
    shells.start(runner.run())
    return shells, runner
