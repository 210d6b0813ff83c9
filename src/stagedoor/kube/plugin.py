"""A program that brings a credential: `users[].user.exec` of a kubeconfig.

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

from stagedoor.kube.credentials import CredentialError, Header, bearer
from stagedoor.wire.oneline import folded
from stagedoor.wire.rfc3339 import parse_time

VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")

RUN_LIMIT_S = 60.0
"""A program that asks a cloud for a token takes seconds; one that hangs would hang us."""

EARLY_S = 60.0
"""How long before its end a credential is replaced."""

OUTPUT_LIMIT = 1024 * 1024
"""Bytes of a credential; a certificate with its key is some thousand."""

_SAYS_LIMIT = 300
_COMPLAINT_BYTES = 4096
_STDERR = 2
_LEFT_S = 1.0
"""So long after its exit a program's pipes are read, should something that it started hold them."""


class _Status(msgspec.Struct):
    token: str = ""
    clientCertificateData: str = ""  # noqa: N815  # the API's own names
    clientKeyData: str = ""  # noqa: N815
    expirationTimestamp: str = ""  # noqa: N815


class _ExecCredential(msgspec.Struct):
    apiVersion: str = ""  # noqa: N815
    kind: str = ""
    status: _Status = msgspec.field(default_factory=_Status)


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, as the kubeconfig says."""

    command: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    api_version: str
    cluster: Mapping[str, object] | None
    """Told to the program when it wants it (`provideClusterInfo`)."""
    hint: str = ""
    """`installHint`: how to get it when it is not there."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A client certificate that the program has brought, both in PEM."""

    certificate: str
    key: str = field(repr=False)


class Plugin:
    """Satisfies `credentials.Credential`; runs the program when there is nothing valid.

    `on_key_pair` is called when it brings a client certificate that differs from the last.
    """

    def __init__(
        self,
        program: Program,
        *,
        on_key_pair: Callable[[KeyPair], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now`: seconds since the epoch, as the credential's end is given in those."""
        self._program = program
        self._on_key_pair = on_key_pair
        self._now = now
        self._header: Header | None = None
        self._key_pair: KeyPair | None = None
        self._ends_at = float("inf")
        self._running = asyncio.Lock()

    async def header(self) -> Header:
        async with self._running:
            if self._header is None or self._now() >= self._ends_at - EARLY_S:
                await self._run()
            assert self._header is not None
            return self._header

    async def renew(self, refused: Header) -> bool:
        async with self._running:
            # Fifty requests that were refused at the same moment run it once.
            if self._header == refused and self._key_pair is None:
                await self._run()
            elif self._key_pair is not None:
                before = self._key_pair
                await self._run()
                return self._key_pair != before or self._header != refused
            return self._header != refused

    async def _run(self) -> None:
        found = parse(self._program, await _output(self._program))
        self._ends_at = _instant(self._program, found.expirationTimestamp)
        self._header = (
            bearer(found.token, f"what {self._program.command} brings") if found.token else Header()
        )
        if found.clientCertificateData:
            pair = KeyPair(found.clientCertificateData, found.clientKeyData)
            if pair != self._key_pair:
                self._key_pair = pair
                self._on_key_pair(pair)


def parse(program: Program, output: bytes) -> _Status:
    """The status of an ExecCredential. Raises CredentialError, which does not show the output."""
    try:
        found = msgspec.json.decode(output, type=_ExecCredential)
    except msgspec.DecodeError:
        raise CredentialError(f"{program.command} printed no ExecCredential in JSON") from None
    if found.kind != "ExecCredential" or found.apiVersion != program.api_version:
        raise CredentialError(
            f"{program.command} printed {found.kind[:40]!r} of {found.apiVersion[:60]!r}, not an "
            f"ExecCredential of {program.api_version}: set apiVersion of the kubeconfig's exec"
        )
    status = found.status
    if not status.token and not (status.clientCertificateData and status.clientKeyData):
        raise CredentialError(f"{program.command} brought neither a token nor a certificate")
    return status


class _Run(asyncio.SubprocessProtocol):
    """What a program prints: its output up to one read beyond OUTPUT_LIMIT, and the end of its errors.

    Not `asyncio.subprocess.Process`: its `wait()` does not come back while a pipe has something
    that nobody reads, or is held open by what the program left running.
    """

    def __init__(self) -> None:
        self.output = bytearray()
        self.errors = b""
        self.exited = asyncio.Event()
        self.told_all = asyncio.Event()
        """There is nothing more to wait for."""

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == _STDERR:
            self.errors = (self.errors + data)[-_COMPLAINT_BYTES:]
        elif len(self.output) <= OUTPUT_LIMIT:
            self.output += data
            if len(self.output) > OUTPUT_LIMIT:
                self.told_all.set()

    def process_exited(self) -> None:
        self.exited.set()
        asyncio.get_running_loop().call_later(_LEFT_S, self.told_all.set)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has exited, and its pipes are at their end."""
        self.told_all.set()


async def _output(program: Program) -> bytes:
    spec: dict[str, object] = {"interactive": False}
    if program.cluster is not None:
        spec["cluster"] = program.cluster
    told = {"apiVersion": program.api_version, "kind": "ExecCredential", "spec": spec}
    environment = {
        **os.environ,
        **program.environment,
        "KUBERNETES_EXEC_INFO": msgspec.json.encode(told).decode(),
    }
    try:
        transport, run = await asyncio.get_running_loop().subprocess_exec(
            _Run,
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
            await run.told_all.wait()
    except TimeoutError:
        raise CredentialError(
            f"{program.command} brought no credential within {RUN_LIMIT_S:.0f} s"
        ) from None
    finally:
        if not run.exited.is_set():
            with suppress(ProcessLookupError):
                os.killpg(transport.get_pid(), signal.SIGKILL)  # and what it has started
            await run.exited.wait()
        transport.close()
    if len(run.output) > OUTPUT_LIMIT:
        raise CredentialError(
            f"{program.command} printed more than {OUTPUT_LIMIT} bytes, which is no credential"
        )
    if status := transport.get_returncode():
        says = folded(run.errors.decode("utf-8", "replace"))[-_SAYS_LIMIT:]
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
            f"{program.command} says that its credential ends at {text[:40]!r}, which is no time"
        )
    return at
