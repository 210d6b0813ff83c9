"""Credentials from a program, which a kubeconfig names in `users[].user.exec`.

Kubernetes: Authenticating, "client-go credential plugins" (client.authentication.k8s.io/v1).
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from stagedoor.kube.credentials import CredentialError, Header, make_bearer
from stagedoor.wire.oneline import fold
from stagedoor.wire.rfc3339 import parse_time

VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")

RUN_LIMIT_S = 60.0
"""The time limit of a program, which may hang. To get a token from a cloud takes seconds."""

EARLY_S = 60.0
"""How long before it expires a credential is replaced."""

OUTPUT_LIMIT = 1024 * 1024
"""The most bytes of a credential. A certificate with its key has a few thousand."""

_STDERR_CHARS = 300
_COMPLAINT_BYTES = 4096
_STDERR = 2
_PIPE_GRACE_S = 1.0
"""How long a program's pipes are read after its exit if a process that it started holds them open."""


class _CredentialStatus(msgspec.Struct):
    token: str = ""
    clientCertificateData: str = ""  # noqa: N815  # the API's own names
    clientKeyData: str = ""  # noqa: N815
    expirationTimestamp: str = ""  # noqa: N815


class _ExecCredential(msgspec.Struct):
    apiVersion: str = ""  # noqa: N815
    kind: str = ""
    status: _CredentialStatus = msgspec.field(default_factory=_CredentialStatus)


@dataclass(frozen=True, slots=True)
class Program:
    """A program that the kubeconfig names."""

    command: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    api_version: str
    cluster: Mapping[str, object] | None
    """The cluster's description for the program, if it wants one (`provideClusterInfo`)."""
    hint: str = ""
    """How to install the program if it is missing (`installHint`)."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A client certificate from the program, and its key, both in PEM."""

    certificate: str
    key: str = field(repr=False)


class Plugin:
    """A `credentials.Credential` that runs a program when it has no valid credential.

    `on_key_pair` is called for each new client certificate.
    """

    def __init__(
        self,
        program: Program,
        *,
        on_key_pair: Callable[[KeyPair], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        """Create it; the program runs at the first request. `now` returns seconds since the epoch."""
        self._program = program
        self._on_key_pair = on_key_pair
        self._now = now
        self._header: Header | None = None
        self._key_pair: KeyPair | None = None
        self._ends_at = float("inf")
        self._running = asyncio.Lock()

    async def make_header(self) -> Header:
        """Return the header, after running the program if it expires soon. Raises CredentialError."""
        async with self._running:
            if self._header is None or self._now() >= self._ends_at - EARLY_S:
                await self._run()
            assert self._header is not None
            return self._header

    async def renew(self, refused: Header) -> bool:
        """Run the program again, and return whether the credential changed. Raises CredentialError."""
        async with self._running:
            # Fifty requests that are refused at the same moment run the program once, unless the certificate,
            # which is not part of a request, may have been refused.
            before = self._key_pair
            if self._header == refused or before is not None:
                await self._run()
            return self._key_pair != before or self._header != refused

    async def _run(self) -> None:
        status = _parse(self._program, await _output(self._program))
        self._ends_at = _instant(self._program, status.expirationTimestamp)
        self._header = (
            make_bearer(status.token, f"what {self._program.command} brings")
            if status.token
            else Header()
        )
        if status.clientCertificateData:
            pair = KeyPair(status.clientCertificateData, status.clientKeyData)
            if pair != self._key_pair:
                self._key_pair = pair
                self._on_key_pair(pair)


def _parse(program: Program, output: bytes) -> _CredentialStatus:
    """Parse the status of an ExecCredential. Raises CredentialError, which does not show the output."""
    try:
        credential = msgspec.json.decode(output, type=_ExecCredential)
    except msgspec.DecodeError:
        raise CredentialError(f"{program.command} printed no ExecCredential in JSON") from None
    if credential.kind != "ExecCredential" or credential.apiVersion != program.api_version:
        raise CredentialError(
            f"{program.command} printed {credential.kind[:40]!r} of {credential.apiVersion[:60]!r}, not an "
            f"ExecCredential of {program.api_version}: set apiVersion of the kubeconfig's exec"
        )
    status = credential.status
    if not status.token and not (status.clientCertificateData and status.clientKeyData):
        raise CredentialError(f"{program.command} brought neither a token nor a certificate")
    return status


class _ProgramRun(asyncio.SubprocessProtocol):
    """A run of a program: its output, up to one read beyond OUTPUT_LIMIT, and the last part of its errors.

    This does not use `asyncio.subprocess.Process`: its `wait()` does not return while a pipe has unread data
    or is held open by a process that the program left running.
    """

    def __init__(self) -> None:
        self.output = bytearray()
        self.errors = b""
        self.exited = asyncio.Event()
        self.done = asyncio.Event()
        """Set when there is nothing more to wait for."""

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Keep the data within the limits."""
        if fd == _STDERR:
            self.errors = (self.errors + data)[-_COMPLAINT_BYTES:]
        elif len(self.output) <= OUTPUT_LIMIT:
            self.output += data
            if len(self.output) > OUTPUT_LIMIT:
                self.done.set()

    def process_exited(self) -> None:
        """Note the exit, and wait just a little longer for the pipes."""
        self.exited.set()
        asyncio.get_running_loop().call_later(_PIPE_GRACE_S, self.done.set)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the program has exited and its pipes have ended."""
        self.done.set()


async def _output(program: Program) -> bytes:
    spec: dict[str, object] = {"interactive": False}
    if program.cluster is not None:
        spec["cluster"] = program.cluster
    exec_info = {"apiVersion": program.api_version, "kind": "ExecCredential", "spec": spec}
    environment = {
        **os.environ,
        **program.environment,
        "KUBERNETES_EXEC_INFO": msgspec.json.encode(exec_info).decode(),
    }
    try:
        transport, run = await asyncio.get_running_loop().subprocess_exec(
            _ProgramRun,
            program.command,
            *program.arguments,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            process_group=0,
        )
    except OSError as error:
        hint = f"; {' '.join(program.hint.split())}" if program.hint else ""
        raise CredentialError(
            f"cannot run {program.command}, which the kubeconfig names for the credential: "
            f"{error.strerror}{hint}"
        ) from None
    try:
        async with asyncio.timeout(RUN_LIMIT_S):
            await run.done.wait()
    except TimeoutError:
        raise CredentialError(
            f"{program.command} brought no credential within {RUN_LIMIT_S:.0f} s"
        ) from None
    finally:
        if not run.exited.is_set():
            with suppress(ProcessLookupError):
                os.killpg(transport.get_pid(), signal.SIGKILL)  # and the processes that it started
            await run.exited.wait()
        transport.close()
    if len(run.output) > OUTPUT_LIMIT:
        raise CredentialError(
            f"{program.command} printed more than {OUTPUT_LIMIT} bytes, which is not a credential"
        )
    if status := transport.get_returncode():
        says = fold(run.errors.decode("utf-8", "replace"))[-_STDERR_CHARS:]
        raise CredentialError(
            f"{program.command} brought no credential (exit status {status}): {says}"
        )
    return bytes(run.output)


def _instant(program: Program, text: str) -> float:
    if not text:
        return float("inf")
    at = parse_time(text)
    if at is None:
        raise CredentialError(
            f"{program.command} says that its credential ends at {text[:40]!r}, which is not a time"
        )
    return at
