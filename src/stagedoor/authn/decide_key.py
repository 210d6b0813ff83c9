"""Whose key or certificate is this, and may it be used now and from here? Pure.

The login name is the owner's name, or an app's (`ssh app01@gateway`): then the key alone says who
it is. Every refusal of a key reads the same to the client; `message` is for the log.
"""

from dataclasses import dataclass, field, replace
from ipaddress import ip_network

from stagedoor.authn.passes import identity_of
from stagedoor.model.certificate import SIGN_IN_KEY_ID, Certificate
from stagedoor.model.credential import KeyCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy
from stagedoor.model.source import Source, within
from stagedoor.model.units import MINUTE_S
from stagedoor.model.webpass import WebPass
from stagedoor.wire.blob import fingerprint
from stagedoor.wire.krl import Revocations
from stagedoor.wire.target import parse_login, shown

FORCE_COMMAND = "force-command"
SOURCE_ADDRESS = "source-address"
VERIFY_REQUIRED = "verify-required"
_UNDERSTOOD = frozenset({FORCE_COMMAND, SOURCE_ADDRESS, VERIFY_REQUIRED})
_SHOWN_KEY_ID = 64


@dataclass(frozen=True, slots=True)
class Trust:
    """Which user CAs are believed, by fingerprint, and what was revoked.

    `own_ca` is the one of this gateway, which signs for sign-ins; in its certificates `principal_prefix`
    stands before a user's name (`keys.principal_prefix`).
    """

    user_cas: frozenset[str] = frozenset()
    revocations: Revocations = field(default_factory=Revocations)
    own_ca: str | None = None
    principal_prefix: str = ""


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
        refused = _refused(certificate, source, now)
        if refused is not None:
            return refused
        if is_of_sign_in(certificate, trust):
            return _by_sign_in_certificate(policy, credential, certificate, trust, now)
        return _by_certificate(policy, credential, certificate, trust)
    record = policy.keys.get(credential.fingerprint)
    user = policy.users.get(record.user) if record else None
    if user is not None and _meant(credential.name, user.name):
        return Identity(user.name, user.groups, Method.PUBLIC_KEY, credential.fingerprint)
    bound = policy.bound_keys.get(credential.fingerprint)
    if bound is not None and _meant(credential.name, bound.name):
        return _by_sign_in(policy, bound, now)
    if record is not None and record.user in policy.disabled:
        return _wrong(f"the key {credential.fingerprint}: {policy.why_gone(record.user)}")
    return Denial.with_mend(
        Reason.CREDENTIAL_WRONG,
        f"the key {credential.fingerprint} is not registered for {shown(credential.name)}",
        "an administrator adds it with: stagedoor key add NAME FILE",
        "add it on your account page, or ask an administrator",
    )


def is_of_sign_in(certificate: Certificate, trust: Trust) -> bool:
    """Whether it was given to a sign-in, and so holds no longer than that; see `keys.ca`."""
    return certificate.ca_fingerprint == trust.own_ca and certificate.key_id.startswith(
        SIGN_IN_KEY_ID
    )


def revoked_now(credential: KeyCredential, trust: Trust) -> Denial | None:
    """Why a key that was good may no longer be used; None while it may.

    That a certificate has expired since does not end what it began, as with sshd(8).
    """
    certificate = credential.certificate
    revoked = revoked_key(credential.key, trust.revocations)
    if revoked is not None or certificate is None:
        return revoked
    stranger = _stranger(certificate, trust)
    if stranger is not None:
        return stranger
    if trust.revocations.holds_certificate(certificate):
        return _wrong(f"{_named(certificate)} was revoked (ssh.revoked_keys_file)")
    return None


def revoked_key(key: bytes, revocations: Revocations) -> Denial | None:
    """Why nobody may use this key, a blob; None while it may be used."""
    if revocations.holds_key(key):
        return _wrong(f"the key {fingerprint(key)} was revoked (ssh.revoked_keys_file)")
    return None


def _stranger(certificate: Certificate, trust: Trust) -> Denial | None:
    if certificate.ca_fingerprint in trust.user_cas:
        return None
    return _wrong(f"the CA {certificate.ca_fingerprint} is not trusted here")


def _refused(certificate: Certificate, source: Source, now: float) -> Denial | None:
    """What a certificate says of its own use."""
    named = _named(certificate)
    if now >= certificate.valid_before:
        return _wrong(f"{named} has expired")
    if now < certificate.valid_after:
        early = (certificate.valid_after - now) / MINUTE_S
        return _wrong(
            f"{named} is not valid yet, for another {early:.1f} min; is the clock of this machine right?"
        )
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
    return None


def _by_sign_in(policy: Policy, bound: WebPass, now: float) -> Identity | Denial:
    """Whose sign-in it is, as the policy is now."""
    assert bound.sign_in is not None, "what is bound to a key is a sign-in"
    return identity_of(replace(bound, expires_at=policy.end_of(bound.sign_in)), policy, now)


def _by_sign_in_certificate(
    policy: Policy, credential: KeyCredential, certificate: Certificate, trust: Trust, now: float
) -> Identity | Denial:
    """Judge a certificate that adds nothing to its sign-in: it must be of this key, number and user."""
    named = _named(certificate)
    bound = policy.bound_keys.get(credential.fingerprint)
    if (
        bound is None
        or bound.sign_in is None
        or bound.sign_in.number != certificate.serial
        or certificate.principals != (trust.principal_prefix + bound.name,)
    ):
        return _wrong(f"the sign-in of {named} is over; sign in again")
    if not _meant(credential.name, bound.name):
        return _wrong(f"{named} is not for {shown(credential.name)}")
    return _by_sign_in(policy, bound, now)


def _by_certificate(
    policy: Policy, credential: KeyCredential, certificate: Certificate, trust: Trust
) -> Identity | Denial:
    named = _named(certificate)
    owners = [name for name in _user_names(certificate, trust) if name in policy.users]
    if credential.name in owners:
        owners = [credential.name]
    if len(owners) != 1 or not _meant(credential.name, owners[0]):
        return _wrong(f"{named} is not for {shown(credential.name)}")
    user = policy.users[owners[0]]
    return Identity(user.name, user.groups, Method.CERTIFICATE, named)


def _user_names(certificate: Certificate, trust: Trust) -> list[str]:
    """Return the principals that may be users' names. Other CAs than our own know no prefix."""
    prefix = trust.principal_prefix if certificate.ca_fingerprint == trust.own_ca else ""
    return [
        principal.removeprefix(prefix)
        for principal in certificate.principals
        if principal.startswith(prefix)
    ]


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
