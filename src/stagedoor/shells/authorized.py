"""Who may log in to a shell, as sshd(8) reads it: `authorized_keys`, `authorized_principals`. Pure.

A registered key is a line of its own, and so is the key of a sign-in, until that ends. A user
certificate is taken when one of its principals is that of a user who may enter this app now
(`cert-authority,principals="…"`): so taking away a grant shuts out every certificate that is still
valid. A certificate without principals is for nobody.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from stagedoor.model.admission import Admission
from stagedoor.model.name import valid_name
from stagedoor.model.units import MINUTE_S

KEYS_LEASE_S = 80 * MINUTE_S
"""How long the keys in a shell are good unless they are renewed. A shell may outlive everything that could
take a right away in it: its gateway, its controller, the rule that lets only the gateway connect."""
RENEW_AT = 0.75
"""Keys are renewed when less than this part of their time is left, so an outage of an hour ends none."""

_KEY = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}")
_EXPIRY = re.compile(r'expiry-time="(\d{14})Z"', re.ASCII)
_FORMAT = "%Y%m%d%H%M%S"
_HEADER = "# Written by Stagedoor whenever the policy changes; edits are lost."


def authorized_keys(admissions: Iterable[Admission], user_ca_lines: Sequence[str]) -> str:
    """The whole file. `user_ca_lines` are public keys of user CAs, each `type base64`.

    What could not be quoted safely is left out, though the store lets nothing such in.
    """
    lines = [_HEADER]
    for admission in admissions:
        if not valid_name(admission.name):
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


def authorized_principals(admissions: Iterable[Admission]) -> str:
    """The whole file for `AuthorizedPrincipalsFile` (sshd_config(5)), beside `TrustedUserCAKeys`.

    A certificate of a trusted CA is taken when one of its principals has a line; the options
    before a principal are those of authorized_keys.
    """
    lines = [_HEADER]
    for admission in admissions:
        if valid_name(admission.name):
            until = _until(admission.expires_at)
            lines.append(f"{until} {admission.principal}" if until else admission.principal)
    return "\n".join(lines) + "\n"


def keys_until(known: float | None, now: float, lease_s: float) -> float:
    """When keys end that are written at `now`; `known` is the end that was written last, None: none was.

    That one is kept while enough of it is left, so that a file which would say the same is not written
    again. An end further away than `lease_s` is none of ours. All in seconds, since the epoch but for
    `lease_s`.
    """
    if known is not None and RENEW_AT * lease_s < known - now <= lease_s:
        return known
    return float(int(now + lease_s))


def ending_by(admissions: Iterable[Admission], until: float) -> tuple[Admission, ...]:
    """The same, of which none lasts beyond `until`."""
    return tuple(replace(one, expires_at=_sooner(until, one.expires_at)) for one in admissions)


def in_force(text: str, now: float) -> str:
    """The lines that have not expired; sshd(8) judges `expiry-time` itself, asyncssh does not."""
    present = datetime.fromtimestamp(now, UTC).strftime(_FORMAT)
    kept = []
    for line in text.splitlines():
        expiry = _EXPIRY.search(line)
        if not line.startswith("#") and (expiry is None or present < expiry[1]):
            kept.append(line)
    return "\n".join(kept)


def _sooner(one: float, other: float | None) -> float:
    return one if other is None else min(one, other)


def _until(expires_at: float | None) -> str:
    if expires_at is None:
        return ""
    # Rounded down: a grant never lasts longer than was said. Past year 9999 is for ever.
    if expires_at >= 253402300800:
        return ""
    return f'expiry-time="{datetime.fromtimestamp(max(expires_at, 0), UTC).strftime(_FORMAT)}Z"'
