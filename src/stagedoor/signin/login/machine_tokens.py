"""Verifying machines' tokens by the `[[machines]]` tables and the keys that issuers publish."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

from joserfc.jwk import KeySet

from stagedoor.model.errors import SettingsError
from stagedoor.net.https import load_trust
from stagedoor.oidc.errors import OidcError, UnavailableError
from stagedoor.oidc.id_token import read_keys
from stagedoor.oidc.logout import read_unverified_issuer
from stagedoor.oidc.machine import (
    MOST_TOKEN_CHARS,
    MachineClaims,
    Rule,
    find_rule,
    read_jwks_uri,
    verify_machine,
)
from stagedoor.oidc.provider import join_discovery_url
from stagedoor.oidc.published import IssuerKeys
from stagedoor.settings.machines import MachineSettings
from stagedoor.signin.providers import HttpsFetch


class MachineTokens:
    """Verifies the tokens of machines. Belongs to one event loop."""

    def __init__(self, machines: tuple[MachineSettings, ...], now: Callable[[], float]) -> None:
        """Read the files that the tables name. Raises SettingsError. `now` is in seconds since the epoch."""
        self._now = now
        self._machines = {machine.name: machine for machine in machines}
        self._rules: dict[str, list[Rule]] = {}
        self._keys: dict[str, IssuerKeys[str]] = {}
        for machine in machines:
            allowed = {claim: machine.allowed(claim) for claim in machine.claims}
            rule = Rule(machine.name, machine.audience, allowed)
            self._rules.setdefault(machine.issuer, []).append(rule)
            if machine.issuer not in self._keys:
                self._keys[machine.issuer] = _issuer_keys(machine, now)

    async def verify(self, token: str) -> tuple[MachineSettings, MachineClaims]:
        """Return the table that accepts the token, and the token's claims.

        Raises OidcError, whose text may be logged and shown to the machine.
        """
        issuer = read_unverified_issuer(token) if len(token) <= MOST_TOKEN_CHARS else None
        keys = self._keys.get(issuer or "")
        if issuer is None or keys is None:
            raise OidcError(
                "this is no ID token of an issuer that a rule of this gateway for machines names (iss)"
            )
        claims = await keys.verify(partial(self._check_token, token, issuer))
        return self._machines[find_rule(claims, self._rules[issuer]).name], claims

    def _check_token(self, token: str, issuer: str, keys: KeySet) -> MachineClaims:
        return verify_machine(token, keys, issuer=issuer, now=self._now())


def _issuer_keys(machine: MachineSettings, now: Callable[[], float]) -> IssuerKeys[str]:
    """Return the keys of the machine's issuer, from `keys_file` or from the issuer. Raises SettingsError."""
    if machine.keys_file is not None:
        _check_file(machine.keys_file)
        return IssuerKeys(partial(_path_of, str(machine.keys_file)), _read_file, now)
    fetch = HttpsFetch(load_trust(machine.ca_file, "machines.ca_file"))
    return IssuerKeys(partial(_find_keys, fetch, machine.issuer), partial(_get, fetch), now)


def _check_file(file: Path) -> None:
    """Raise SettingsError if the file holds no keys."""
    try:
        read_keys(file.read_bytes())
    except (OSError, OidcError) as error:
        raise SettingsError(f"cannot read machines.keys_file {file}: {error}") from None


async def _path_of(file: str) -> str:
    return file


async def _read_file(file: str) -> bytes:
    try:
        return await asyncio.to_thread(Path(file).read_bytes)
    except OSError as error:
        raise UnavailableError(f"cannot read machines.keys_file {file}: {error}") from None


async def _find_keys(fetch: HttpsFetch, issuer: str) -> str:
    return read_jwks_uri(await _get(fetch, join_discovery_url(issuer)), issuer)


async def _get(fetch: HttpsFetch, url: str) -> bytes:
    status, body = await fetch.get(url)
    if status != 200:
        raise UnavailableError(f"{url} answered {status}; check machines.issuer")
    return body
