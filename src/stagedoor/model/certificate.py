"""OpenSSH user certificates (OpenSSH's PROTOCOL.certkeys), read but not yet believed; their extensions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from stagedoor.model.permission import Permission, Permissions

PTY = "permit-pty"
PORT_FORWARDING = "permit-port-forwarding"
AGENT_FORWARDING = "permit-agent-forwarding"
EVERYTHING = frozenset({PTY, PORT_FORWARDING, AGENT_FORWARDING})
"""The extensions that a login here can have."""

SIGN_IN_KEY_ID = "sign-in "
"""So begins the key id of a certificate that the gateway gave to a sign-in; its serial is the sign-in's
number. The CA's key signs what administrators give it as well: those hold by themselves."""


def extensions_for(granted: Permissions) -> frozenset[str]:
    """Return the extensions of a certificate for a user with these permissions."""
    wanted = {PTY}
    if Permission.AGENT in granted:
        wanted.add(AGENT_FORWARDING)
    if Permission.FORWARD in granted:
        wanted.add(PORT_FORWARDING)
    return frozenset(wanted)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says of the key that it certifies.

    `ca` is the CA's public key as a blob (RFC 4253 §6.6), `ca_fingerprint` its `SHA256:…`. The
    certificate is good from `valid_after` until before `valid_before`, seconds since the epoch.
    `critical_options` are name to value; one that is not understood forbids its use.
    `extensions` are names.
    """

    serial: int
    key_id: str
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    ca: bytes
    ca_fingerprint: str
    critical_options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    extensions: frozenset[str] = frozenset()
