"""Whose key or certificate is this, and may it be used now and from here? Pure.

The login name is the owner's name, or an app's (`ssh app01@gateway`): then the key alone says who
it is. Every refusal of a key is the same to whoever offered it; `message` is for the log.
"""

from dataclasses import dataclass, field
from ipaddress import ip_network

from stagedoor.model.certificate import Certificate
from stagedoor.model.credential import KeyCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy
from stagedoor.model.source import Source, within
from stagedoor.wire.krl import Revocations
from stagedoor.wire.target import parse_login, shown

FORCE_COMMAND = "force-command"
SOURCE_ADDRESS = "source-address"
VERIFY_REQUIRED = "verify-required"
_UNDERSTOOD = frozenset({FORCE_COMMAND, SOURCE_ADDRESS, VERIFY_REQUIRED})
_SHOWN_KEY_ID = 64


@dataclass(frozen=True, slots=True)
class Trust:
    """Which user CAs are believed, by fingerprint, and what was revoked."""

    user_cas: frozenset[str] = frozenset()
    revocations: Revocations = field(default_factory=Revocations)


def decide_key(
    policy: Policy, credential: KeyCredential, trust: Trust, source: Source, now: float
) -> Identity | Denial:
    """Judge a key or certificate; `now` is seconds since the epoch.

    A certificate without principals is for nobody: it would be good for every name.
    """
    certificate = credential.certificate
    if certificate is not None:
        # Before all that depends on a name: a forged one must cost the same for every name.
        denial = _stranger(certificate, trust)
        if denial is None and not credential.signed_by_ca():
            denial = _wrong("a certificate that its CA did not sign")
        if denial is not None:
            return denial
    revoked = revoked_now(credential, trust)
    if revoked is not None:
        return revoked
    if certificate is not None:
        return _by_certificate(policy, credential, certificate, source, now)
    record = policy.keys.get(credential.fingerprint)
    user = policy.users.get(record.user) if record else None
    if user is None or not _meant(credential.name, user.name):
        return _wrong(
            f"the key {credential.fingerprint} is not registered for {shown(credential.name)} "
            "(an administrator adds it with: stagedoor key add NAME FILE)"
        )
    return Identity(user.name, user.groups, Method.PUBLIC_KEY, credential.fingerprint)


def revoked_now(credential: KeyCredential, trust: Trust) -> Denial | None:
    """Why a key that was good may no longer be used; None while it may.

    That a certificate has expired since does not end what it began, as with sshd(8).
    """
    certificate = credential.certificate
    if trust.revocations.holds_key(credential.key):
        return _wrong(f"the key {credential.fingerprint} was revoked (ssh.revoked_keys_file)")
    if certificate is None:
        return None
    stranger = _stranger(certificate, trust)
    if stranger is not None:
        return stranger
    if trust.revocations.holds_certificate(certificate):
        return _wrong(f"{_named(certificate)} was revoked (ssh.revoked_keys_file)")
    return None


def _stranger(certificate: Certificate, trust: Trust) -> Denial | None:
    if certificate.ca_fingerprint in trust.user_cas:
        return None
    return _wrong(f"the CA {certificate.ca_fingerprint} is not one of ours")


def _by_certificate(
    policy: Policy,
    credential: KeyCredential,
    certificate: Certificate,
    source: Source,
    now: float,
) -> Identity | Denial:
    named = _named(certificate)
    if not certificate.valid_after <= now < certificate.valid_before:
        when = "is not valid yet" if now < certificate.valid_after else "has expired"
        return _wrong(f"{named} {when}")
    unknown = certificate.critical_options.keys() - _UNDERSTOOD
    if unknown:
        # PROTOCOL.certkeys: what is critical and not understood forbids the certificate's use.
        return _wrong(
            f"{named} has a critical option that is not understood: {sorted(unknown)[0]!r}"
        )
    allowed = certificate.critical_options.get(SOURCE_ADDRESS)
    if allowed is not None and not _allows(allowed, source):
        return _wrong(f"{named} may not be used from {source.address}")
    if not certificate.principals:
        return _wrong(f"{named} names no principal, so it is for nobody")
    owners = [name for name in certificate.principals if name in policy.users]
    if credential.name in owners:
        owners = [credential.name]
    if len(owners) != 1 or not _meant(credential.name, owners[0]):
        return _wrong(f"{named} is not for {shown(credential.name)}")
    user = policy.users[owners[0]]
    return Identity(user.name, user.groups, Method.CERTIFICATE, named)


def _meant(login_name: str, owner: str) -> bool:
    return login_name == owner or parse_login(login_name) is not None


def _allows(addresses: str, source: Source) -> bool:
    """PROTOCOL.certkeys, source-address: CIDR networks with commas between, each one exact."""
    try:
        networks = tuple(ip_network(text) for text in addresses.split(","))
    except ValueError:
        return False
    return within(source.address, networks)


def _named(certificate: Certificate) -> str:
    """How the audit names a certificate; its key id is the CA's text and may hold anything."""
    key_id = "".join(c if " " <= c <= "~" else "?" for c in certificate.key_id[:_SHOWN_KEY_ID])
    return f"certificate {certificate.serial} ({key_id})"


def _wrong(message: str) -> Denial:
    return Denial(Reason.CREDENTIAL_WRONG, message)
