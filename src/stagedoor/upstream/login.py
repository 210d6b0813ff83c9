"""The second SSH connection, from the gateway to a shell, in the user's name.

The gateway presents a certificate from its own user CA, valid for minutes, for a key that exists as long as
the connection. So the shell's log names the user, and there is no stored secret to steal. The shell presents
a certificate from the host CA, or a host key named in the settings. Any other key is refused, since an
impostor could read everything.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakValueDictionary

import asyncssh
from asyncssh.kex import get_kex_algs

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import StagedoorError
from stagedoor.model.identity import Identity
from stagedoor.model.session import ReadyShell
from stagedoor.model.target import Target
from stagedoor.model.units import MINUTE_S
from stagedoor.net.tcp import TcpStream
from stagedoor.recording.channel_audit import Note
from stagedoor.upstream.connection import MAX_MESSAGE_CHARS, ShellConnection
from stagedoor.wire.oneline import to_one_line

CERTIFICATE_S = 5 * MINUTE_S
"""How long a certificate is valid. It is used at once; the minutes allow for clocks that differ."""
HANDSHAKE_TIMEOUT_S = 15.0
MAX_CONCURRENT = 16
"""The most concurrent logins to one shell. When a gateway or a network comes back, all clients reconnect at
once. Without this limit they would slow each other down until none logs in within the timeout, and each would
hold the memory of a key exchange."""
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com",
            "aes256-ctr", "aes128-ctr")  # fmt: skip
_HOST_KEYS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
              "rsa-sha2-512", "rsa-sha2-256")  # fmt: skip
# Key exchanges with groups or keys that the shell chooses (group exchange, RSA) are left out, since one
# exponentiation could take minutes. Each of these takes milliseconds.
_KEX = ("mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384", "ecdh-sha2-nistp521", "diffie-hellman-group14-sha256")  # fmt: skip
_RSA = ("rsa-sha2-512", "rsa-sha2-256")


@dataclass(frozen=True, slots=True)
class ShellAccount:
    """The account with which the gateway logs in to a shell.

    If `login_name` is None, it is the identity's name. `host_keys` are public keys (`type base64`) that the
    shell may present instead of a host certificate.
    """

    login_name: str | None = None
    host_keys: tuple[str, ...] = ()


class SignUser(Protocol):
    """A function like `keys.ca.CertificateAuthority.sign_user`. It may block, and is called in a thread."""

    def __call__(
        self,
        public_key: str,
        identity: str,
        users: Sequence[str],
        valid_s: float,
        *,
        extensions: Sequence[str],
    ) -> str:
        """Return the certificate in one line."""
        ...


class ShellLoginError(Exception):
    """Raised when a shell was reached but the login to it failed.

    The message is for the audit, the line of `denial` for the developer.
    """

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.message)
        self.denial = denial


@dataclass(frozen=True, slots=True)
class GatewayLogin:
    """The gateway's login to shells.

    `host_ca_lines` are the public keys of the host CAs. `note` records events of sessions in the audit.
    """

    sign_user: SignUser
    host_ca_lines: tuple[str, ...]
    find_account: Callable[[Target], ShellAccount]
    note: Note
    timeout_s: float = HANDSHAKE_TIMEOUT_S
    _turns: WeakValueDictionary[Target, asyncio.Semaphore] = field(
        default_factory=WeakValueDictionary, init=False, repr=False, compare=False
    )

    async def connect(
        self,
        stream: TcpStream,
        ready: ReadyShell,
        extensions: Sequence[str],
        make_client: Callable[[], asyncssh.SSHClient],
    ) -> asyncssh.SSHClientConnection:
        """Log in over `stream`, which this call now owns. Raises ShellLoginError.

        The certificate is for the user whose rights allow the session, such as a guest's host. The shell's
        log names the identity, with the trace of the login.
        """
        grant, trace_id = ready.grant, ready.trace_id
        identity, target = grant.identity, grant.target
        sock = stream.detach()
        try:
            principal = grant.shell_user or identity.name
            key = asyncssh.generate_private_key("ssh-ed25519")
            certificate = await asyncio.to_thread(  # an agent may be slow
                self.sign_user,
                key.export_public_key().decode().strip(),
                f"{identity.name} trace {trace_id}" if trace_id else identity.name,
                [principal],
                CERTIFICATE_S,
                extensions=extensions,
            )
            turn = self._turns.setdefault(target, asyncio.Semaphore(MAX_CONCURRENT))
            async with turn, asyncio.timeout(self.timeout_s):
                options = await self._options(target, principal, (key, certificate), make_client)
                connection = await ShellConnection.connect(sock, options, target)
                if isinstance(connection, Denial):
                    raise ShellLoginError(connection)
                return connection
        except BaseException as error:
            # It has no owner yet, or belongs to a connection that was given up.
            sock.close()
            denial = self._explain(error, target.shell_name, identity)
            if denial is None:
                raise
            raise ShellLoginError(denial) from None

    async def _options(
        self,
        target: Target,
        principal: str,
        credential: tuple[asyncssh.SSHKey, str],
        make_client: Callable[[], asyncssh.SSHClient],
    ) -> asyncssh.SSHClientConnectionOptions:
        account, (key, certificate) = self.find_account(target), credential
        options: asyncssh.SSHClientConnectionOptions
        options = await asyncssh.SSHClientConnectionOptions.construct(
            host=target.host_name,
            config=None,
            username=account.login_name or principal,
            client_factory=make_client,
            client_keys=[(key, asyncssh.import_certificate(certificate))],
            known_hosts=(
                [asyncssh.import_public_key(line) for line in account.host_keys],
                [asyncssh.import_public_key(line) for line in self.host_ca_lines],
                [],  # no key is revoked
            ),
            server_host_key_algs=_host_key_algorithms(account),
            agent_path=None,
            preferred_auth="publickey",
            gss_host=None,
            kex_algs=select_supported_key_exchanges(_KEX),
            encryption_algs=list(_CIPHERS),
            compression_algs=["none"],
            client_version="Stagedoor",
            login_timeout=self.timeout_s,
        )
        return options

    def _explain(self, error: BaseException, name: str, identity: Identity) -> Denial | None:
        """Return the refusal for `error`, or None for a bug in Stagedoor or a cancelled login."""
        said = (
            to_one_line(error.reason, MAX_MESSAGE_CHARS)
            if isinstance(error, asyncssh.Error)
            else ""
        )
        match error:
            case ShellLoginError():
                return error.denial
            case StagedoorError():
                what = f"the gateway cannot log in to the shell {name}"
                return Denial(
                    Reason.UPSTREAM_REFUSED,
                    f"{what}: {error}",
                    person_message=f"{what}: {error.public}",
                )
            case asyncssh.KeyExchangeFailed() if error.reason.startswith("No matching "):
                return _make_denial(
                    f"the shell {name} and the gateway have no algorithm in common",
                    f"its sshd must offer one of {', '.join(_KEX)} (KexAlgorithms), and one of "
                    f"{', '.join(_CIPHERS)} (Ciphers)",
                )
            case asyncssh.HostKeyNotVerifiable() | asyncssh.KeyExchangeFailed():
                return _make_denial(
                    f"the shell {name} shows no host key that the gateway knows ({said})",
                    "name it to the gateway, or give the shell a certificate of the host CA",
                )
            case asyncssh.PermissionDenied():
                return _make_denial(
                    f"the shell {name} does not accept the gateway's certificate for {identity.name!r}",
                    "its sshd must trust the gateway's user CA (TrustedUserCAKeys) and accept that "
                    "principal",
                )
            case TimeoutError():
                return _make_denial(
                    f"the shell {name} did not accept the gateway's login by SSH within {self.timeout_s:g} s"
                )
            case asyncssh.Error():
                return _make_denial(f"the shell {name} cannot be logged in to: {said}")
            case OSError():
                return _make_denial(
                    f"the shell {name} cannot be logged in to: {error.strerror or error}"
                )
        return None


def _make_denial(what: str, fix: str = "") -> Denial:
    """Return a refusal. `fix` is what an administrator can do about it."""
    if not fix:
        return Denial(Reason.UPSTREAM_REFUSED, what)
    return Denial.with_fix(Reason.UPSTREAM_REFUSED, what, fix, "ask an administrator")


def select_supported_key_exchanges(names: Sequence[str]) -> list[str]:
    """Return the key exchanges among `names` that `cryptography` supports; older versions lack ML-KEM."""
    known = {name.decode("ascii") for name in get_kex_algs()}
    return [name for name in names if name in known]


def _host_key_algorithms(account: ShellAccount) -> list[str]:
    """Return the types of the known keys, then those of certificates, then all others.

    So a shell without any of the first presents another key and is refused for it, instead of hanging up.
    """
    known: list[str] = []
    for line in account.host_keys:
        kind = line.split()[0]
        known += _RSA if kind == "ssh-rsa" else [kind]
    certificates = [f"{name}-cert-v01@openssh.com" for name in _HOST_KEYS]
    return list(dict.fromkeys([*known, *certificates, *_HOST_KEYS]))
