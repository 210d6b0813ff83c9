"""OpenSSH user certificates (PROTOCOL.certkeys), parsed but not verified; their extensions and options."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from stagedoor.model.permission import Permission, Permissions

PTY = "permit-pty"
PORT_FORWARDING = "permit-port-forwarding"
AGENT_FORWARDING = "permit-agent-forwarding"
ALL_EXTENSIONS = frozenset({PTY, PORT_FORWARDING, AGENT_FORWARDING})
"""The extensions that a login through the gateway can have."""

FORCE_COMMAND = "force-command"
SOURCE_ADDRESS = "source-address"
VERIFY_REQUIRED = "verify-required"
UNDERSTOOD_OPTIONS = frozenset({FORCE_COMMAND, SOURCE_ADDRESS, VERIFY_REQUIRED})
"""The critical options that the gateway understands."""

SIGN_IN_KEY_ID = "sign-in "
"""The prefix of the key id in certificates that the gateway issues to sign-ins; their serial is the
sign-in's number. Certificates that administrators sign with the same CA key lack the prefix, and do not
depend on a sign-in."""


def list_extensions(granted: Permissions) -> frozenset[str]:
    """Return the extensions of a certificate for a user with these permissions."""
    extensions = {PTY}
    if Permission.AGENT in granted:
        extensions.add(AGENT_FORWARDING)
    if Permission.FORWARD in granted:
        extensions.add(PORT_FORWARDING)
    return frozenset(extensions)


@dataclass(frozen=True, slots=True)
class Certificate:
    """The contents of a certificate.

    `ca` is the CA's public key as a blob (RFC 4253 §6.6), `ca_fingerprint` its `SHA256:…`. The
    certificate is valid from `valid_after` until before `valid_before`, both in seconds since the
    epoch. `critical_options` maps names to values; a certificate with an unknown critical option must
    be refused. `extensions` are names.
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
