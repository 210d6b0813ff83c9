"""The SSH listener's parts: its host key and certificate, whom it trusts, and its limits."""

import platform
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import ip_address

from stagedoor.admin.certificates.authorities import (
    ensure_ssh_host_key,
    ssh_host_certificate,
    user_ca_line,
)
from stagedoor.admin.certificates.certificates import UserCertificates
from stagedoor.admin.certificates.revoked_keys import RevokedKeysFile
from stagedoor.admin.login.ssh_sign_ins import SshSignInService
from stagedoor.authn.decide_key import Trust
from stagedoor.listeners.ssh.listener import SshListener
from stagedoor.listeners.ssh.options import HostKey, SshLimits
from stagedoor.listeners.ssh.page import PageParts
from stagedoor.listeners.ssh.seam import DirectLogin
from stagedoor.model.denial import Denial
from stagedoor.model.errors import SettingsError
from stagedoor.model.policy import Policy
from stagedoor.model.rate import Rate
from stagedoor.model.target import Target
from stagedoor.model.units import DAY_S
from stagedoor.serve.parts.accept import accept_rules
from stagedoor.session.flow import Flow
from stagedoor.settings.settings import Settings
from stagedoor.settings.startups import parse_limits
from stagedoor.store.database import Database
from stagedoor.wire.sshkey import KeyRefused, parse_public_key

HOST_CERTIFICATE_S = 90 * DAY_S
"""Signed again each day; so long for a worker that is stopped and goes on."""

HANDSHAKE_BURST_S = 5.0
"""After a quiet time, what comes in so many seconds may come at once."""
HANDSHAKE_PATIENCE_S = 15.0
"""A handshake may wait so long: people who share an address all come back at once after a restart."""


def ssh_listener(
    settings: Settings,
    flow: Flow,
    addresses: tuple[str, ...],
    direct: DirectLogin,
    page: PageParts,
) -> SshListener:
    """The listener that answers on `addresses`. Raises StagedoorError."""
    names = host_names(settings, addresses)

    def host_key() -> HostKey:
        private, _ = ensure_ssh_host_key(settings)
        return HostKey(private, ssh_host_certificate(settings, names, HOST_CERTIFICATE_S))

    limits = SshLimits(
        rules=accept_rules(settings),
        header_timeout_s=settings.listen.header_timeout_s,
        login_grace_s=settings.ssh.login_grace_s,
        startups=parse_limits(settings.ssh.max_startups),
        handshakes=Rate(
            max(round(settings.ssh.handshakes_per_s * HANDSHAKE_BURST_S), 1),
            1 / settings.ssh.handshakes_per_s,
            HANDSHAKE_PATIENCE_S,
        ),
        max_channels=settings.ssh.max_channels,
        alive_interval_s=settings.ssh.alive_interval_s,
        passwords=settings.ssh.passwords,
        keyboard_interactive=settings.ssh.keyboard_interactive,
        idle_timeout_s=settings.relay.idle_timeout_s,
    )
    return SshListener(flow, limits, host_key, direct, page)


def page_parts(
    settings: Settings,
    database: Database,
    policy: Callable[[], Policy],
    certificates: UserCertificates | None,
    apps: Callable[[], Iterable[Target]],
) -> PageParts:
    """Return what people find at the gateway itself: their apps and their sign-in.

    `policy` returns the policy as it is now, `apps` the apps that exist; without `certificates` no key is
    bound to a sign-in.
    """
    refused = RevokedKeysFile(settings.ssh.revoked_keys_file).refused
    sign_ins = None
    if certificates is not None:
        sign_ins = SshSignInService(settings, database, policy, apps, certificates, refused)
    return PageParts(settings.ssh.host_names, settings.ssh.public_port, sign_ins)


def host_names(settings: Settings, addresses: tuple[str, ...]) -> tuple[str, ...]:
    """What stands in the host certificate: a name that is not there would make ssh ask."""
    if settings.ssh.host_names:
        return settings.ssh.host_names
    shown = [a for a in addresses if not ip_address(a.partition("%")[0]).is_unspecified]
    local = ["localhost"] if any(ip_address(a.partition("%")[0]).is_loopback for a in shown) else []
    return tuple(dict.fromkeys([platform.node() or "localhost", *shown, *local]))


def user_ca_fingerprints(settings: Settings) -> frozenset[str]:
    """Our own user CA and those that the settings trust besides. Raises StagedoorError."""
    lines = [user_ca_line(settings)]
    for file in settings.ssh.trusted_user_ca_files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"ssh.trusted_user_ca_files: cannot read {file}: {error}") from None
        lines += [x for x in text.splitlines() if x.strip() and not x.lstrip().startswith("#")]
    found = set()
    for line in lines:
        key = parse_public_key(line)
        if isinstance(key, KeyRefused):
            raise SettingsError(f"ssh.trusted_user_ca_files: {key.reason}")
        found.add(key.fingerprint)
    return frozenset(found)


def trust_of(settings: Settings) -> Callable[[], Trust | Denial]:
    """Whom to trust, asked at each login. Raises StagedoorError for what is wrong now."""
    own = parse_public_key(user_ca_line(settings))
    assert not isinstance(own, KeyRefused), "our own keys are of a kind that we take"
    trust = Trust(
        user_ca_fingerprints(settings),
        own_ca=own.fingerprint,
        principal_prefix=settings.keys.principal_prefix or "",
    )
    file = RevokedKeysFile(settings.ssh.revoked_keys_file)

    def now() -> Trust | Denial:
        found = file.now()
        return found if isinstance(found, Denial) else replace(trust, revocations=found)

    return now
