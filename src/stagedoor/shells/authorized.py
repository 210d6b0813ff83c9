"""The files by which sshd(8) decides on logins to a shell: `authorized_keys`, `authorized_principals`. Pure.

There is a line for each registered key, and for the key of each sign-in until that ends. A user certificate
is accepted if one of its principals belongs to a user who now has a grant for this app
(`cert-authority,principals="…"`). So once a grant is removed, even certificates that are still valid are
refused. A certificate without principals is never accepted.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from stagedoor.model.grant import Admission
from stagedoor.model.name import is_valid_name
from stagedoor.model.units import MINUTE_S

KEYS_LEASE_S = 80 * MINUTE_S
"""How long the keys in a shell are valid unless they are renewed. A shell may outlive everything that could
revoke access to it: its gateway, its controller, and the rule that lets only the gateway connect."""
RENEW_AT = 0.75
"""Keys are renewed when less than this part of their time is left, so that no key ends during an outage of an
hour."""

_KEY = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}")
_EXPIRY = re.compile(r'expiry-time="(\d{14})Z"', re.ASCII)
_FORMAT = "%Y%m%d%H%M%S"
_HEADER = "# Written by Stagedoor whenever the policy changes; edits are lost."


def render_authorized_keys(admissions: Iterable[Admission], user_ca_lines: Sequence[str]) -> str:
    """Return the text of the file. `user_ca_lines` are public keys of user CAs, each `type base64`.

    Names and keys that cannot be quoted safely are left out. The store should not contain any.
    """
    lines = [_HEADER]
    for admission in admissions:
        if not is_valid_name(admission.name):
            continue
        until = _until(admission.expires_at)
        options = f"{until} " if until else ""
        lines += [
            f"{options}{key} {admission.name}"
            for key in admission.public_keys
            if _KEY.fullmatch(key)
        ]
        lines += [
            f"{_until(_sooner(ends_at, admission.expires_at))} {key} {admission.name}"
            for key, ends_at in admission.bound_keys
            if _KEY.fullmatch(key)
        ]
        limits = ",".join(
            part
            for part in ("cert-authority", f'principals="{admission.principal}"', until)
            if part
        )
        lines += [f"{limits} {ca}" for ca in user_ca_lines if _KEY.fullmatch(ca)]
    return "\n".join(lines) + "\n"


def render_authorized_principals(admissions: Iterable[Admission]) -> str:
    """Return the text of an `AuthorizedPrincipalsFile` (sshd_config(5)), for use with `TrustedUserCAKeys`.

    sshd accepts a certificate of a trusted CA if one of its principals has a line. The options before a
    principal are those of authorized_keys.
    """
    lines = [_HEADER]
    for admission in admissions:
        if is_valid_name(admission.name):
            until = _until(admission.expires_at)
            lines.append(f"{until} {admission.principal}" if until else admission.principal)
    return "\n".join(lines) + "\n"


def decide_keys_end(previous_end: float | None, now: float) -> float:
    """Return when keys that are written at `now` end.

    `previous_end` is the end that was written last, or None. It is kept while enough time is left, so that
    an unchanged file is not written again. An end further away than KEYS_LEASE_S does not come from
    Stagedoor, so it is replaced. Times are in seconds since the epoch.
    """
    if previous_end is not None and RENEW_AT * KEYS_LEASE_S < previous_end - now <= KEYS_LEASE_S:
        return previous_end
    return float(int(now + KEYS_LEASE_S))


def end_by(admissions: Iterable[Admission], until: float) -> tuple[Admission, ...]:
    """Return `admissions` such that none lasts beyond `until`."""
    return tuple(
        replace(admission, expires_at=_sooner(until, admission.expires_at))
        for admission in admissions
    )


def drop_expired(text: str, now: float) -> str:
    """Return the lines that have not expired. sshd(8) checks `expiry-time` itself, but asyncssh does not."""
    present = datetime.fromtimestamp(now, UTC).strftime(_FORMAT)
    kept = []
    for line in text.splitlines():
        expiry = _EXPIRY.search(line)
        if not line.startswith("#") and (expiry is None or present < expiry[1]):
            kept.append(line)
    return "\n".join(kept)


def _sooner(first: float, second: float | None) -> float:
    return first if second is None else min(first, second)


def _until(expires_at: float | None) -> str:
    if expires_at is None:
        return ""
    # Rounded down, so that a key never outlasts its grant. A time after the year 9999 means no end.
    if expires_at >= 253402300800:
        return ""
    return f'expiry-time="{datetime.fromtimestamp(max(expires_at, 0), UTC).strftime(_FORMAT)}Z"'
