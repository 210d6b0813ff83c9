"""Direct login in the test's own process: the real flow, a real local shell, real SSH both ways.

Only the listener in front is a small one, so that a test can say what a person may have.
"""

import asyncio
import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import asyncssh

from stagedoor.listeners.ssh.direct.driver import DirectDriver, DirectParts
from stagedoor.listeners.ssh.direct.events import ConnectionClosed
from stagedoor.listeners.ssh.login import SshLogin
from stagedoor.model.certificate import ALL_EXTENSIONS
from stagedoor.model.denial import Denial
from stagedoor.model.event import EventFields, EventKind
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity, Method
from stagedoor.model.permission import DEFAULT, Permissions
from stagedoor.model.session import (
    AccessMethod,
    OpenedSession,
    ReadyShell,
    ResumedSession,
    SessionResult,
)
from stagedoor.model.shell import Progress, Shell
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.net.dial import Dialer
from stagedoor.net.resolve import Resolver
from stagedoor.recording.channel_audit import RecordingPlan
from stagedoor.session.flow import Flow
from stagedoor.session.registry import Registry
from stagedoor.shells.local.adapter import LocalShells
from stagedoor.shells.local.settings import LocalShell
from stagedoor.upstream.connect import TcpConnector
from stagedoor.upstream.login import GatewayLogin, ShellAccount
from stagedoor.wire.target import parse_login
from tests.fixtures.laptop import write_ssh_config
from tests.fixtures.worker import LoopThread
from tests.pace import allow
from tests.shells.host import ShellHost
from tests.waiting import BOUND_S


@dataclass
class Seen:
    """The records of the audit and the log, in order."""

    opened: list[OpenedSession] = field(default_factory=list)
    ended: list[tuple[OpenedSession, SessionResult]] = field(default_factory=list)
    denied: list[Denial] = field(default_factory=list)
    notes: list[tuple[str, EventKind, EventFields]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, true: Callable[[], Any]) -> Any:
        """Wait until `true` returns a true value, and return that value."""
        with self.changed:
            assert self.changed.wait_for(true, BOUND_S), (self.ended, self.denied, self.notes)
            return true()

    def of(self, kind: EventKind, count: int = 1) -> list[EventFields]:
        """Return the events of a kind, once there are `count` of them."""

        def matching() -> list[EventFields]:
            return [fields for _, noted, fields in self.notes if noted is kind]

        self.wait(lambda: len(matching()) >= count)
        return matching()

    # The audit stage (`session.ports.Ledger`), and `Note`.

    async def open(
        self,
        ready: ReadyShell,
        access_method: AccessMethod,
        source: Source,
        earlier: ResumedSession | None = None,
    ) -> OpenedSession | Denial:
        assert earlier is None, "a direct login begins its own session"
        opened = OpenedSession(
            f"{len(self.opened):026x}", time.time(), access_method, source, ready
        )
        self._add(self.opened, opened)
        return opened

    def close_session(self, opened: OpenedSession, ended: SessionResult) -> None:
        self._add(self.ended, (opened, ended))

    def record_denial(
        self,
        denial: Denial,
        access_method: AccessMethod,
        source: Source,
        *,
        identity: str | None = None,
        target: Target | None = None,
    ) -> None:
        self._add(self.denied, denial)

    def note(self, opened: OpenedSession, kind: EventKind, fields: EventFields) -> None:
        self._add(self.notes, (opened.id, kind, fields))

    def _add(self, where: list[Any], what: object) -> None:
        with self.changed:
            where.append(what)
            self.changed.notify_all()


@dataclass
class Policy:
    """The rights that a test gives; they may be changed while it runs."""

    permissions: Permissions = DEFAULT
    permitted_extensions: frozenset[str] = ALL_EXTENSIONS
    force_command: str | None = None
    denial: Denial | None = None
    account: ShellAccount = field(default_factory=ShellAccount)
    shell: Callable[[Shell], Shell] = lambda shell: shell
    """Returns the shell that the flow gets in place of the given one."""

    version: int = 1
    is_unavailable: bool = False

    def find_language(self, name: str) -> str | None:
        return None

    async def read_newer_than(self, version: int) -> bool:
        return False

    async def wait_for_change(self, version: int, within_s: float) -> bool:
        await asyncio.sleep(within_s)
        return False

    def authorise(
        self, identity: Identity, target: Target, *, includes_unbegun: bool = True
    ) -> Grant | Denial:
        return self.denial or Grant(identity, target, 1, None, permissions=self.permissions)

    def check_proof(self, identity: Identity, target: Target) -> None:
        """Return None: no target of these tests wants a step-up."""

    def judge_again(self, grant: Grant) -> Grant | Denial:
        return self.authorise(grant.identity, grant.target)


class Shells:
    """The local shells, seen through the test's policy."""

    def __init__(self, local: LocalShells, policy: Policy) -> None:
        self._local = local
        self._policy = policy
        self.touch, self.release = local.touch, local.release

    def find_ready(self, grant: Grant) -> Shell | None:
        return None

    async def ensure(self, grant: Grant, progress: Progress) -> Shell | Denial:
        shell = await self._local.ensure(grant, progress)
        return shell if isinstance(shell, Denial) else self._policy.shell(shell)


class DirectGateway(LoopThread):
    """Serves direct logins on `port` from a thread with its own event loop."""

    def __init__(
        self,
        host: ShellHost,
        policy: Policy | None = None,
        *,
        entry: LocalShell | None = None,
        plan: RecordingPlan | None = None,
        idle_timeout_s: float | None = None,
    ) -> None:
        super().__init__("direct-gateway")
        self.host = host
        self.policy = policy or Policy()
        self.seen = Seen()
        self.port = 0
        self.drivers: list[DirectDriver] = []
        self.connections: list[asyncssh.SSHServerConnection] = []
        self.faults: list[dict[str, Any]] = []
        self._entry = entry or LocalShell("app01", login_shell="/bin/bash")
        self._plan = plan or RecordingPlan(cast("Any", None))
        self._idle_timeout_s = idle_timeout_s

    def stop(self) -> None:
        super().stop()
        assert not self.faults, self.faults

    def do(self, call: Callable[[], Any]) -> Any:
        """Run something in the gateway's event loop."""

        async def run() -> Any:
            return call()

        return self.call(run())

    async def serve(self) -> None:
        self.loop.set_exception_handler(lambda _, context: self.faults.append(context))
        local = self.host.shells(self._entry)
        self.registry = Registry(self.policy.judge_again, time.time)
        flow = Flow(
            authenticator=_NoAuthenticator(),
            authoriser=self.policy,
            policy=self.policy,
            shells=Shells(local, self.policy),  # type: ignore[arg-type]  # what the flow uses of it
            ledger=self.seen,
            connector=TcpConnector(
                resolve=Resolver().resolve,
                dial=Dialer().dial,
                is_gateway=lambda address, port: False,
                dial_timeout_s=5,
            ),
            registry=self.registry,
            now=time.time,
            write_line=lambda line: None,
            start_timeout_s=BOUND_S,
        )
        self.direct = DirectParts(
            GatewayLogin(
                self.host.user_ca.sign_user,
                (self.host.host_ca.format_public_line(),),
                lambda target: self.policy.account,
                self.seen.note,
            ),
            plan=self._plan,
            idle_timeout_s=self._idle_timeout_s,
        )
        server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=lambda: _Front(self, flow),
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            authorized_client_keys=asyncssh.import_authorized_keys(self.host.key),
            encoding=None,
            line_editor=False,
            agent_forwarding=True,
        )
        self.port = server.get_port()
        self._up.set()
        try:
            await self._stop.wait()
        finally:
            server.close()
            for connection in self.connections:
                connection.abort()
            await server.wait_closed()
            await local.stop_watching()
            await asyncio.to_thread(local.stop_all)


class _NoAuthenticator:
    """Never asked: SSH has authenticated each client before."""

    async def authenticate(self, credential: object, source: Source) -> Identity | Denial:
        raise AssertionError("direct login never authenticates")

    def check_still_valid(self, credential: object, identity: Identity) -> Denial | None:
        return None


class _Front(asyncssh.SSHServer):
    """The listener's part, made small."""

    def __init__(self, gateway: DirectGateway, flow: Flow) -> None:
        self._gateway = gateway
        self._flow = flow
        self._driver: DirectDriver | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn
        self._gateway.connections.append(conn)

    def auth_completed(self) -> None:
        name = self._conn.get_extra_info("username")
        login = SshLogin(
            identity=Identity("dev", frozenset({"crew"}), Method.PUBLIC_KEY, "SHA256:x"),
            login_name=name,
            target=parse_login(name),
            source=Source.of(*self._conn.get_extra_info("peername")[:2]),
            flow=self._flow,
            gateway_address=("127.0.0.1", self._gateway.port),
            permitted_extensions=self._gateway.policy.permitted_extensions,
            force_command=self._gateway.policy.force_command,
            hang_up=partial(self._conn.disconnect, asyncssh.DISC_BY_APPLICATION),
        )
        self._driver = DirectDriver(self._gateway.direct, login)
        self._gateway.drivers.append(self._driver)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._driver:
            self._driver.post(ConnectionClosed())

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        assert self._driver
        return self._driver.open_session()

    async def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> asyncssh.SSHTCPSession[bytes]:
        assert self._driver
        return await self._driver.open_forward(dest_host, dest_port)


@contextlib.contextmanager
def direct_gateway(
    host: ShellHost, policy: Policy | None = None, **more: Any
) -> Iterator[DirectGateway]:
    gateway = DirectGateway(host, policy, **more)
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop()


@dataclass(frozen=True)
class Client:
    """Stock OpenSSH against a gateway."""

    config: Path

    @classmethod
    def of(cls, gateway: DirectGateway, *lines: str) -> "Client":
        folder = gateway.host.folder
        config = write_ssh_config(
            folder / f"direct.{os.urandom(4).hex()}",
            folder / "id",
            "HostName 127.0.0.1",
            f"Port {gateway.port}",
            "IdentityAgent SSH_AUTH_SOCK",
            "LogLevel ERROR",
            "PreferredAuthentications publickey",
            *lines,
        )
        return cls(config)

    def ssh(
        self, *words: str | Path, input: bytes | None = b"", env: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[bytes]":
        """`words` are options first, then `app01@gw`, then the command."""
        return self.run("ssh", "-F", self.config, *words, input=input, env=env)

    @staticmethod
    def run(
        *words: str | Path, input: bytes | None = b"", env: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [str(word) for word in words],
            input=input,
            capture_output=True,
            timeout=allow(100),
            check=False,
            env={**os.environ, **(env or {})},
        )


def ok(done: "subprocess.CompletedProcess[bytes]") -> bytes:
    assert done.returncode == 0, (done.returncode, done.stdout[-500:], done.stderr[-500:])
    return bytes(done.stdout)


def moved(**fields: Any) -> Callable[[Shell], Shell]:
    """Return a function that changes these fields of a shell."""
    return lambda shell: replace(shell, **fields)
