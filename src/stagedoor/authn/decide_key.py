"""Decisions on SSH keys and certificates, by owner, time and source. Pure.

The login name is the owner's name or an app's (`ssh app01@gateway`); with an app's name, the key alone
identifies the user. SSH clients see the same refusal for every key; the `message` is for the log.
"""

from dataclasses import dataclass, field, replace
from ipaddress import ip_network

from stagedoor.authn.passes import judge_pass
from stagedoor.model.certificate import (
    SIGN_IN_KEY_ID,
    SOURCE_ADDRESS,
    UNDERSTOOD_OPTIONS,
    Certificate,
)
from stagedoor.model.credential import KeyCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy
from stagedoor.model.source import Source, is_within
from stagedoor.model.units import MINUTE_S
from stagedoor.model.webpass import KeyLogin
from stagedoor.wire.ssh.blob import format_fingerprint
from stagedoor.wire.ssh.krl import Revocations
from stagedoor.wire.target import parse_login, quote_name

_SHOWN_KEY_ID = 64


@dataclass(frozen=True, slots=True)
class Trust:
    """The fingerprints of the trusted user CAs, and the revocations.

    `own_ca` is the fingerprint of this gateway's CA, which signs the certificates of sign-ins. In its
    certificates, `principal_prefix` precedes the user's name (`keys.principal_prefix`).
    """

    user_cas: frozenset[str] = frozenset()
    revocations: Revocations = field(default_factory=Revocations)
    own_ca: str | None = None
    principal_prefix: str = ""


def judge_key(
    policy: Policy, credential: KeyCredential, trust: Trust, source: Source, now: float
) -> Identity | Denial:
    """Judge a key or certificate; `now` is seconds since the epoch.

    A certificate without principals is refused: it would be valid for every name.
    """
    certificate = credential.certificate
    if certificate is not None:
        # Checked before anything that depends on the name, so that a forged one takes the same time for every
        # name.
        denial = _check_ca(certificate, trust)
        if denial is None and not credential.is_signed_by_ca():
            denial = _make_denial("a certificate that its CA did not sign")
        if denial is not None:
            return denial
    revoked = explain_revocation(credential, trust)
    if revoked is not None:
        return revoked
    if certificate is not None:
        denial = _check_use(certificate, source, now)
        if denial is not None:
            return denial
        if is_of_sign_in(certificate, trust):
            return _judge_sign_in_certificate(policy, credential, certificate, trust, now)
        return _judge_certificate(policy, credential, certificate, trust)
    record = policy.keys.get(credential.fingerprint)
    user = policy.users.get(record.user) if record else None
    if user is not None and _is_for(credential.name, user.name):
        return Identity(user.name, user.groups, Method.PUBLIC_KEY, credential.fingerprint)
    bound = policy.bound_keys.get(credential.fingerprint)
    if bound is not None and _is_for(credential.name, bound.name):
        return _judge_sign_in(policy, bound, now)
    if record is not None and record.user in policy.disabled:
        return _make_denial(
            f"the key {credential.fingerprint}: {policy.explain_absence(record.user)}"
        )
    return Denial.with_fix(
        Reason.CREDENTIAL_WRONG,
        f"the key {credential.fingerprint} is not registered for {quote_name(credential.name)}",
        "an administrator adds it with: stagedoor key add NAME FILE",
        "add it on your account page, or ask an administrator",
    )


def is_of_sign_in(certificate: Certificate, trust: Trust) -> bool:
    """Return whether a certificate is a sign-in's, and so valid no longer than that; see `keys.ca`."""
    return certificate.ca_fingerprint == trust.own_ca and certificate.key_id.startswith(
        SIGN_IN_KEY_ID
    )


def explain_revocation(credential: KeyCredential, trust: Trust) -> Denial | None:
    """Return why an accepted key may no longer be used, or None while it may.

    As in sshd(8), the expiry of a certificate does not end the connections that it opened.
    """
    certificate = credential.certificate
    revoked = check_key_revocation(credential.key, trust.revocations)
    if revoked is not None or certificate is None:
        return revoked
    denial = _check_ca(certificate, trust)
    if denial is not None:
        return denial
    if trust.revocations.has_certificate(certificate):
        return _make_revoked_denial(_describe_certificate(certificate))
    return None


def check_key_revocation(key: bytes, revocations: Revocations) -> Denial | None:
    """Return a denial if the key in the blob `key` was revoked, or None."""
    if revocations.has_key(key):
        return _make_revoked_denial(f"the key {format_fingerprint(key)}")
    return None


def _check_ca(certificate: Certificate, trust: Trust) -> Denial | None:
    if certificate.ca_fingerprint in trust.user_cas:
        return None
    return _make_denial(f"the CA {certificate.ca_fingerprint} is not trusted here")


def _check_use(certificate: Certificate, source: Source, now: float) -> Denial | None:
    """Return a denial if the certificate forbids this use by its time, options or principals."""
    named = _describe_certificate(certificate)
    if now >= certificate.valid_before:
        return _make_denial(f"{named} has expired")
    if now < certificate.valid_after:
        early = (certificate.valid_after - now) / MINUTE_S
        return _make_denial(
            f"{named} is not valid yet, for another {early:.1f} min; is the clock of this machine right?"
        )
    unknown = certificate.critical_options.keys() - UNDERSTOOD_OPTIONS
    if unknown:
        # PROTOCOL.certkeys: a certificate with an unknown critical option must not be accepted.
        return _make_denial(
            f"{named} has a critical option that is not understood: {sorted(unknown)[0]!r}"
        )
    allowed = certificate.critical_options.get(SOURCE_ADDRESS)
    if allowed is not None and not _allows(allowed, source):
        return _make_denial(f"{named} may not be used from {source.address}")
    if not certificate.principals:
        return _make_denial(f"{named} names no principal")
    return None


def _judge_sign_in(policy: Policy, bound: KeyLogin, now: float) -> Identity | Denial:
    """Return the identity of the sign-in that a key is bound to, by the policy as it is now."""
    return judge_pass(replace(bound, expires_at=policy.end_of(bound.sign_in)), policy, now)


def _judge_sign_in_certificate(
    policy: Policy, credential: KeyCredential, certificate: Certificate, trust: Trust, now: float
) -> Identity | Denial:
    """Judge a sign-in's certificate, which must have the sign-in's key, number and user."""
    named = _describe_certificate(certificate)
    bound = policy.bound_keys.get(credential.fingerprint)
    if (
        bound is None
        or bound.sign_in.number != certificate.serial
        or certificate.principals != (trust.principal_prefix + bound.name,)
    ):
        return _make_denial(f"the sign-in of {named} is over; sign in again")
    if not _is_for(credential.name, bound.name):
        return _make_denial(f"{named} is not for {quote_name(credential.name)}")
    return _judge_sign_in(policy, bound, now)


def _judge_certificate(
    policy: Policy, credential: KeyCredential, certificate: Certificate, trust: Trust
) -> Identity | Denial:
    named = _describe_certificate(certificate)
    owners = [name for name in _user_names(certificate, trust) if name in policy.users]
    if credential.name in owners:
        owners = [credential.name]
    if len(owners) != 1 or not _is_for(credential.name, owners[0]):
        return _make_denial(f"{named} is not for {quote_name(credential.name)}")
    user = policy.users[owners[0]]
    return Identity(
        user.name, user.groups, Method.CERTIFICATE, named, user_created_at=user.created_at
    )


def _user_names(certificate: Certificate, trust: Trust) -> list[str]:
    """Return the principals as user names. Only certificates of our own CA have the prefix."""
    prefix = trust.principal_prefix if certificate.ca_fingerprint == trust.own_ca else ""
    return [
        principal.removeprefix(prefix)
        for principal in certificate.principals
        if principal.startswith(prefix)
    ]


def _is_for(login_name: str, owner: str) -> bool:
    """Return whether `owner` may log in as `login_name`: it is their name, or an app's."""
    return login_name == owner or parse_login(login_name) is not None


def _allows(addresses: str, source: Source) -> bool:
    """Return whether `source` is in one of the CIDR networks of `source-address` (PROTOCOL.certkeys).

    Commas separate the networks. If one is malformed or has host bits set, no source is allowed.
    """
    try:
        networks = tuple(ip_network(text) for text in addresses.split(","))
    except ValueError:
        return False
    return is_within(source.address, networks)


def _describe_certificate(certificate: Certificate) -> str:
    """Return a certificate's name for the audit. Its key id, a CA's text, may have any characters."""
    key_id = "".join(c if " " <= c <= "~" else "?" for c in certificate.key_id[:_SHOWN_KEY_ID])
    return f"certificate {certificate.serial} ({key_id})"


def _make_denial(message: str) -> Denial:
    return Denial(Reason.CREDENTIAL_WRONG, message)


def _make_revoked_denial(what: str) -> Denial:
    return Denial.with_fix(
        Reason.CREDENTIAL_WRONG, f"{what} was revoked", "ssh.revoked_keys_file", "use another"
    )
