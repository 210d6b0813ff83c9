"""The SSH options of the listener: algorithms, keepalives, and no features that a gateway does not need."""

from dataclasses import dataclass, field

import asyncssh

from stagedoor.listeners.accept import AcceptRules
from stagedoor.listeners.limits import LIMITS, ClientLimits
from stagedoor.listeners.ssh.credentials import SIGNATURE_ALGORITHMS
from stagedoor.model.rate import Rate
from stagedoor.upstream.login import select_supported_key_exchanges

MAX_AUTH_TRIES = 10
"""The keys and passwords that one connection may try. sshd(8) allows six, but many agents have more keys."""
ALIVE_COUNT = 2
"""The most keepalives that may stay unanswered. Any received byte restarts the interval."""

# RFC 4253 §7.1: the client's order decides. Algorithms that ssh-audit fails are left out: no NIST curves, no
# SHA-1. So are finite-field groups: with group 18 a client makes us compute for 15 ms before any login, at no
# cost of its own (D(HE)at, CVE-2002-20001).
_KEX = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
)
# `packets` is fast for these. chacha20-poly1305 is left out: OpenSSH would prefer it, `packets` is not fast
# for it, and it is the cipher of Terrapin (CVE-2023-48795).
AES_GCM = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
_CIPHERS = (*AES_GCM, "aes256-ctr", "aes192-ctr", "aes128-ctr")
# AES-GCM needs no MAC. With AES-CTR, clients that support encrypt-then-MAC (-etm) list it first, as OpenSSH
# does, and their order decides. The last two are for clients that support nothing better: libssh2 before 1.11
# (Debian 12's curl) and Dropbear. OpenSSH's sshd offers them, too. Terrapin (CVE-2023-48795) needs a cipher
# that is not offered here.
_MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "umac-128-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)


@dataclass(frozen=True, slots=True)
class HostKey:
    """The gateway's host key: a private key in OpenSSH's format, and its certificate, one line."""

    private: bytes = field(repr=False)
    certificate: str


@dataclass(frozen=True, slots=True)
class SshListenerSettings:
    """The settings that this listener uses, and the limits of its clients."""

    rules: AcceptRules
    handshakes: Rate
    allows_passwords: bool
    idle_timeout_s: float | None
    client_limits: ClientLimits = LIMITS


def make_server_options(
    host_key: HostKey, settings: SshListenerSettings
) -> asyncssh.SSHServerConnectionOptions:
    """Return asyncssh's options for all connections. Blocks for a moment."""
    key = asyncssh.import_private_key(host_key.private)
    return asyncssh.SSHServerConnectionOptions(
        server_factory=asyncssh.SSHServer,
        server_host_keys=[(key, asyncssh.import_certificate(host_key.certificate))],
        server_version="Stagedoor",
        config=None,
        kex_algs=select_supported_key_exchanges(_KEX),
        encryption_algs=list(_CIPHERS),
        mac_algs=list(_MACS),
        signature_algs=list(SIGNATURE_ALGORITHMS),
        # Compression reveals information through the length of packets, and takes a lot of CPU time.
        compression_algs=["none"],
        login_timeout=settings.client_limits.login_grace_s,
        keepalive_interval=settings.client_limits.alive_interval_s,
        keepalive_count_max=ALIVE_COUNT,
        public_key_auth=True,
        password_auth=settings.allows_passwords,
        kbdint_auth=settings.allows_passwords,
        host_based_auth=False,
        gss_host=None,
        # `ClientConnection.create_agent_listener` checks the permission first.
        agent_forwarding=True,
        x11_forwarding=False,
        allow_pty=True,
        line_editor=False,
        encoding=None,
    )
