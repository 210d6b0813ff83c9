"""The SSH listener's parts: its host key and certificate, the CAs that it trusts, and its limits."""

import platform
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

from stagedoor.admin.certificates.authorities import (
    ensure_ssh_host_key,
    issue_host_certificate,
    read_user_ca,
)
from stagedoor.admin.certificates.revocation import RevokedKeysFile
from stagedoor.authn.decide_key import Trust
from stagedoor.listeners.ssh.listener import SshListener
from stagedoor.listeners.ssh.options import HostKey, SshListenerSettings
from stagedoor.listeners.ssh.page import PageParts
from stagedoor.model.denial import Denial
from stagedoor.model.errors import SettingsError
from stagedoor.model.rate import Rate
from stagedoor.model.units import DAY_S
from stagedoor.serve.parts.direct import build_direct_login
from stagedoor.serve.parts.listener import ListenerParts
from stagedoor.serve.parts.listening import make_accept_rules
from stagedoor.settings.settings import Settings
from stagedoor.signin.login.ssh_sign_ins import SshSignInService
from stagedoor.wire.ssh.key import KeyRefused, parse_public_key

HOST_CERTIFICATE_S = 90 * DAY_S
"""The certificate is signed again each day. It is valid for longer in case a worker is suspended."""

HANDSHAKE_BURST_S = 5.0
"""After a quiet time, as many handshakes are allowed at once as otherwise in this many seconds."""
HANDSHAKE_PATIENCE_S = 15.0
"""Seconds that a handshake may wait: after a restart, all clients that share an address return at once."""


def build_ssh_listener(parts: ListenerParts, addresses: tuple[str, ...]) -> SshListener:
    """Return the listener that answers on `addresses`. Raises StagedoorError."""
    settings = parts.settings
    names = list_host_names(settings, addresses)

    def host_key() -> HostKey:
        private, _ = ensure_ssh_host_key(settings)
        return HostKey(private, issue_host_certificate(settings, names, HOST_CERTIFICATE_S))

    own = SshListenerSettings(
        rules=make_accept_rules(settings),
        handshakes=Rate(
            max(round(settings.ssh.handshakes_per_s * HANDSHAKE_BURST_S), 1),
            1 / settings.ssh.handshakes_per_s,
            HANDSHAKE_PATIENCE_S,
        ),
        allows_passwords=settings.ssh.passwords,
        idle_timeout_s=settings.relay.idle_timeout_s,
        client_limits=parts.client_limits,
    )
    return SshListener(parts.flow, own, host_key, build_direct_login(parts), _build_page(parts))


def _build_page(parts: ListenerParts) -> PageParts:
    """Return the parts of the gateway's own page over SSH, where developers find their apps and sign in."""
    ssh, sign_ins = parts.settings.ssh, None
    if parts.certificates is not None:
        sign_ins = SshSignInService(
            parts.context,
            parts.flow.shells.list_targets,
            parts.certificates,
            RevokedKeysFile(ssh.revoked_keys_file).explain_refusal,
        )
    return PageParts(ssh.host_names, ssh.public_port, sign_ins, parts.requests, parts.runs)


def list_host_names(settings: Settings, addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the host certificate. For any other name, ssh would ask the user."""
    if settings.ssh.host_names:
        return settings.ssh.host_names
    shown = [a for a in addresses if not ip_address(a.partition("%")[0]).is_unspecified]
    local = ["localhost"] if any(ip_address(a.partition("%")[0]).is_loopback for a in shown) else []
    return tuple(dict.fromkeys([platform.node() or "localhost", *shown, *local]))


def list_user_ca_fingerprints(settings: Settings) -> frozenset[str]:
    """Return the fingerprints of our user CA and of `ssh.trusted_user_ca_files`. Raises StagedoorError."""
    lines = [read_user_ca(settings)]
    for file in settings.ssh.trusted_user_ca_files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"ssh.trusted_user_ca_files: cannot read {file}: {error}") from None
        lines += [x for x in text.splitlines() if x.strip() and not x.lstrip().startswith("#")]
    fingerprints = set()
    for line in lines:
        key = parse_public_key(line)
        if isinstance(key, KeyRefused):
            raise SettingsError(f"ssh.trusted_user_ca_files: {key.reason}")
        fingerprints.add(key.fingerprint)
    return frozenset(fingerprints)


def make_trust_reader(settings: Settings) -> Callable[[], Trust | Denial]:
    """Return a function that returns the trusted CAs and the revocations, for each login.

    Raises StagedoorError if the user CA or a trusted file cannot be read now.
    """
    own = parse_public_key(read_user_ca(settings))
    assert not isinstance(own, KeyRefused), "our own keys are of a kind that we take"
    trust = Trust(
        list_user_ca_fingerprints(settings),
        own_ca=own.fingerprint,
        principal_prefix=settings.keys.principal_prefix or "",
    )
    file = RevokedKeysFile(settings.ssh.revoked_keys_file)

    def current_trust() -> Trust | Denial:
        revocations = file.read()
        if isinstance(revocations, Denial):
            return revocations
        return replace(trust, revocations=revocations)

    return current_trust
