"""Stand-ins for the stages, which write down what they are asked. The real ones meet in tests/path."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address

from stagedoor.model.credential import Credential, PasswordCredential
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity, Method
from stagedoor.model.permission import to_words
from stagedoor.model.session import (
    ZERO_COUNTS,
    AccessMethod,
    Counts,
    EndReason,
    LoginOrigin,
    OpenedSession,
    ReadyShell,
    ResumedSession,
    SessionResult,
    StoredSession,
)
from stagedoor.model.shell import Progress, ProgressStep, Shell, ShellState
from stagedoor.model.source import Address, Source
from stagedoor.model.target import Target
from stagedoor.model.trace import LoginTrace, TraceContext
from stagedoor.session.flow import Flow
from stagedoor.session.registry import Registry
from stagedoor.upstream.connect import TcpConnector

DEV = Identity("dev", frozenset(), Method.PASSWORD)
APP01 = Target("app01")
SHELL = Shell(APP01, "app01-ssh.apps.svc", 22)
SOURCE = Source(ip_address("127.0.0.1"), 40000)
TRACE = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
ORIGIN = LoginOrigin(AccessMethod.CONNECT, SOURCE, TRACE)
GRANT = Grant(DEV, APP01, 1, None)
OPENED = OpenedSession("s1", 90.0, AccessMethod.CONNECT, SOURCE, ReadyShell(GRANT, SHELL))


@dataclass
class Script:
    """The answers that the stages shall give, and a record of what happened, in order."""

    identity: Identity | Denial = DEV
    grants: list[Grant | Denial] = field(default_factory=lambda: [GRANT])
    """The answers of `authorise`, one after the other; the last one is repeated."""
    step_ups: list[Denial] = field(default_factory=list)
    """Why the grant does not suffice, one after the other; then it does."""
    shell: Shell | Denial = SHELL
    audit: Denial | None = None
    addresses: tuple[str, ...] = ("10.0.0.9",)
    resolve_error: OSError | None = None
    dial_error: BaseException | None = None
    open_error: BaseException | None = None
    gateway: str | None = None
    ready: bool = False
    """Whether the shell is ready without a start."""
    hold: asyncio.Event | None = None
    steps: tuple[ProgressStep, ...] = (ProgressStep("pulling image", "3 of 5"),)
    """The steps that a start reports while it is held."""
    new_policies: list[Callable[[], None]] = field(default_factory=list)
    looks: int = 0
    is_unavailable: deque[bool] = field(default_factory=lambda: deque([False]))
    """Whether the policy is unavailable, at one question after the other, then again from the first."""
    asked: list[str] = field(default_factory=list)
    lines: list[dict[str, object]] = field(default_factory=list)
    traces: list[LoginTrace] = field(default_factory=list)
    refusal: str = ""

    def grant(self) -> Grant | Denial:
        return self.grants.pop(0) if len(self.grants) > 1 else self.grants[0]


@dataclass
class Upstream:
    script: Script
    spliceable: bool = True

    def fileno(self) -> int:
        return -1

    def recv(self, limit: int) -> bytes | None:
        return None

    def send(self, data: memoryview) -> int:
        return len(data)

    def wants_write(self) -> bool:
        return False

    def pending(self) -> bool:
        return False

    def shutdown_write(self) -> None:
        self.script.asked.append("upstream.shutdown_write")

    def abort(self) -> None:
        self.script.asked.append("upstream.abort")

    def close(self) -> None:
        self.script.asked.append("upstream.close")


@dataclass
class Running:
    """A relay that ends on request."""

    script: Script
    on_end: Callable[[SessionResult], None]

    def read_counts(self) -> Counts:
        return Counts(1, 2)

    def change_grant(self, grant: Grant) -> None:
        self.script.asked.append(f"relay.granted {to_words(grant.permissions)}")

    def request_end(self, end: EndReason, detail: str = "") -> None:
        self.script.asked.append(f"relay.close {end.value}")
        self.on_end(SessionResult(end, Counts(1, 2), detail))


@dataclass
class Authn:
    script: Script

    async def authenticate(
        self, credential: Credential | None, source: Source
    ) -> Identity | Denial:
        self.script.asked.append("authenticate")
        return self.script.identity


@dataclass
class Authz:
    script: Script

    def authorise(
        self, identity: Identity, target: Target, *, includes_unbegun: bool = True
    ) -> Grant | Denial:
        self.script.asked.append("authorise")
        return self.script.grant()

    def select_targets(self, identity: Identity, targets: Iterable[Target]) -> Iterable[Target]:
        return targets

    def check_proof(self, identity: Identity, target: Target) -> Denial | None:
        return self.script.step_ups.pop(0) if self.script.step_ups else None

    def judge_again(self, grant: Grant) -> Grant | Denial:
        return self.authorise(grant.identity, grant.target)

    def authorise_share(self, identity: Identity, share_id: str) -> Grant | Denial:
        raise NotImplementedError

    def authorise_watching(
        self, identity: Identity, target: Target, terminal: str, host: str
    ) -> Grant | Denial:
        raise NotImplementedError


@dataclass
class OneShell:
    script: Script

    def list_targets(self) -> tuple[Target, ...]:
        return (APP01,)

    def has_target(self, target: Target) -> bool:
        return target == APP01

    def find_ready(self, grant: Grant) -> Shell | None:
        return SHELL if self.script.ready else None

    async def ensure(self, grant: Grant, progress: Progress) -> Shell | Denial:
        self.script.asked.append("ensure")
        if self.script.hold is not None:
            for step in self.script.steps:
                progress(step)
            await self.script.hold.wait()
        return self.script.shell

    async def resolve(self, target: Target) -> Shell | None:
        return None

    async def observe(self, target: Target) -> ShellState:
        return ShellState.READY

    def find_notice(self, target: Target) -> str | None:
        return None

    def touch(self, target: Target) -> None:
        self.script.asked.append("touch")

    def release(self, target: Target) -> None:
        self.script.asked.append("release")

    async def stop_watching(self) -> None: ...


def stored_session() -> StoredSession:
    """Return a session that another process has."""
    return StoredSession(
        "dev", "app01.ssh", "connect", 90.0, Counts(3, 4), "worker-1", "10.0.0.1:40000", None, None
    )


@dataclass
class Audit:
    script: Script

    async def open(
        self,
        ready: ReadyShell,
        access_method: AccessMethod,
        source: Source,
        earlier: ResumedSession | None = None,
    ) -> OpenedSession | Denial:
        self.script.asked.append("audit.open" if earlier is None else f"audit.resume {earlier.id}")
        opened = OpenedSession("s1", 90.0, access_method, source, ready)
        if earlier is not None:
            before = earlier.counts or ZERO_COUNTS
            opened = OpenedSession(
                earlier.id, 90.0, access_method, source, ready, before, stored_session()
            )
        return self.script.audit or opened

    def release(self, opened: OpenedSession, counts: Counts) -> None:
        self.script.asked.append("audit.release")

    def return_session(self, opened: OpenedSession, why: str) -> None:
        self.script.asked.append(f"audit.return {why}")

    async def wait_for_writes(self) -> None:
        self.script.asked.append("audit.wait")

    def close_session(self, opened: OpenedSession, ended: SessionResult) -> None:
        self.script.asked.append(f"audit.close {ended.end.value}")

    def record_denial(
        self,
        denial: Denial,
        access_method: AccessMethod,
        source: Source,
        *,
        identity: str | None = None,
        target: Target | None = None,
    ) -> None:
        self.script.asked.append(f"audit.deny {denial.reason.value}")


@dataclass
class Network:
    script: Script

    async def resolve(self, host: str) -> tuple[Address, ...]:
        self.script.asked.append(f"resolve {host}")
        if self.script.resolve_error:
            raise self.script.resolve_error
        return tuple(ip_address(a) for a in self.script.addresses)

    async def dial(self, addresses: tuple[Address, ...], port: int, timeout_s: float) -> Upstream:
        self.script.asked.append(f"dial {','.join(map(str, addresses))}:{port}")
        if self.script.dial_error:
            raise self.script.dial_error
        return Upstream(self.script)


@dataclass
class Listener:
    """The steps that every listener takes around `Flow.enter`."""

    script: Script
    flow: Flow
    running: Running | None = None

    def progress(self, step: ProgressStep) -> None:
        self.script.asked.append(f"progress {step.name}")

    async def serve(self, host: str, port: str) -> None:
        entered = await self.flow.enter_by_name(
            host, port, PasswordCredential("dev", "secret"), ORIGIN, self.progress
        )
        if isinstance(entered, Denial):
            self.script.asked.append(f"refuse {entered.reason.value}")
            self.script.refusal = entered.message
            return
        with entered.transfer() as hand_over:
            self.script.asked.append("hand over")
            if self.script.open_error:
                raise self.script.open_error
            self.running = Running(self.script, entered)
            hand_over(self.running)


class NewPolicy:
    """A store in which each look finds the next of its script, and puts it in force."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.version = 1

    @property
    def is_unavailable(self) -> bool:
        self.script.is_unavailable.rotate(-1)
        return self.script.is_unavailable[-1]

    def find_language(self, name: str) -> str | None:
        return None

    async def read_newer_than(self, version: int) -> bool:
        self.script.looks += 1
        if self.script.new_policies:
            self.script.new_policies.pop(0)()
            self.version += 1
        return self.version != version

    async def wait_for_change(self, version: int, within_s: float) -> bool:
        return await self.read_newer_than(version)


def flow_of(script: Script, start_timeout_s: float = 60) -> Flow:
    network = Network(script)
    registry = Registry(lambda _: script.grant(), lambda: 100.0)
    return Flow(
        authenticator=Authn(script),
        authoriser=Authz(script),
        policy=NewPolicy(script),
        shells=OneShell(script),
        ledger=Audit(script),
        connector=TcpConnector(
            network.resolve, network.dial, lambda a, _: str(a) == script.gateway, 5
        ),
        registry=registry,
        now=lambda: 100.0,
        write_line=lambda line: script.lines.append(dict(line)),
        start_timeout_s=start_timeout_s,
        on_trace=script.traces.append,
    )


async def serve(
    script: Script, host: str = "app01.ssh", port: str = "22", start_timeout_s: float = 60
) -> tuple[Flow, Listener]:
    """Log in once, up to where the relay runs or the developer is refused with a message."""
    listener = Listener(script, flow_of(script, start_timeout_s))
    await listener.serve(host, port)
    return listener.flow, listener
