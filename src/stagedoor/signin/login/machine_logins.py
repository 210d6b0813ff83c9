"""Machine logins: a machine logs in with its own ID token. No user approves the login, and it expires.

Tokens are verified by the `[[machines]]` tables and the keys that issuers publish.
"""

import asyncio
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog
from joserfc.jwk import KeySet

from stagedoor.admin.blocking import call_blocking
from stagedoor.admin.certificates.revocation import RefusedKeys
from stagedoor.admin.certificates.user_signer import UserCertificates
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.sign_ins import show_id
from stagedoor.keys.signing import find_signing_key
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import NotFoundError, RefusedError, SettingsError
from stagedoor.model.rate import Rate, SourceRates
from stagedoor.model.secret import hash_secret
from stagedoor.model.source import Source, find_source_network
from stagedoor.model.webpass import KeyLogin
from stagedoor.net.https import load_trust
from stagedoor.oidc.errors import OidcError, UnavailableError
from stagedoor.oidc.id_token import read_keys
from stagedoor.oidc.logout import read_unverified_issuer
from stagedoor.oidc.machine import (
    MAX_TOKEN_CHARS,
    MachineClaims,
    Rule,
    find_rule,
    read_jwks_uri,
    verify_machine,
)
from stagedoor.oidc.provider import join_discovery_url
from stagedoor.oidc.published import IssuerKeys
from stagedoor.settings.machines import MachineSettings
from stagedoor.signin.login.service import (
    MAX_LABEL_CHARS,
    NAMESPACE,
    NO_CERTIFICATES,
    LoginResult,
    certify_new,
)
from stagedoor.signin.providers import HttpsFetch
from stagedoor.signin.source_limit import ATTEMPTS, SourceLimit
from stagedoor.store.sign_in import logins
from stagedoor.wire.oneline import fold
from stagedoor.wire.ssh.key import PublicKey

LOGIN_RATE_PER_RULE = Rate(burst=300, interval_s=0.5)
"""The logins by one `[[machines]]` table, in each worker: each changes the policy, and is in the memory of
every worker while it lasts. A CI matrix has 256 jobs at most."""
RETRY_S = 10
_NONE_HERE = Denial.with_fix(
    Reason.BAD_REQUEST,
    "machine logins are not set up on this gateway",
    "an administrator adds a [[machines]] table to the settings",
    "ask an administrator",
)
_log = structlog.get_logger()


class MachineTokens:
    """Verifies the tokens of machines. Belongs to one event loop."""

    def __init__(self, machines: tuple[MachineSettings, ...], now: Callable[[], float]) -> None:
        """Read the files that the tables name. Raises SettingsError. `now` is in seconds since the epoch."""
        self._now = now
        self._machines = {machine.name: machine for machine in machines}
        self._rules: dict[str, list[Rule]] = {}
        self._keys: dict[str, IssuerKeys[str]] = {}
        for machine in machines:
            allowed = {claim: machine.list_allowed(claim) for claim in machine.claims}
            rule = Rule(machine.name, machine.audience, allowed)
            self._rules.setdefault(machine.issuer, []).append(rule)
            if machine.issuer not in self._keys:
                self._keys[machine.issuer] = _make_issuer_keys(machine, now)

    async def verify(self, token: str) -> tuple[MachineSettings, MachineClaims]:
        """Return the table that accepts the token, and the token's claims.

        Raises OidcError, whose text may be logged and shown to the machine.
        """
        issuer = read_unverified_issuer(token) if len(token) <= MAX_TOKEN_CHARS else None
        keys = self._keys.get(issuer or "")
        if issuer is None or keys is None:
            raise OidcError(
                "no rule for machines of this gateway names the issuer of this token (iss)"
            )
        claims = await keys.verify(partial(self._check_token, token, issuer))
        return self._machines[find_rule(claims, self._rules[issuer]).name], claims

    def _check_token(self, token: str, issuer: str, keys: KeySet) -> MachineClaims:
        return verify_machine(token, keys, issuer=issuer, now=self._now())


def _make_issuer_keys(machine: MachineSettings, now: Callable[[], float]) -> IssuerKeys[str]:
    """Return the keys of the machine's issuer, from `keys_file` or from the issuer. Raises SettingsError."""
    if machine.keys_file is not None:
        _check_file(machine.keys_file)
        return IssuerKeys(partial(_get_path, str(machine.keys_file)), _read_file, now)
    fetch = HttpsFetch(load_trust(machine.ca_file, "machines.ca_file"))
    return IssuerKeys(partial(_find_keys, fetch, machine.issuer), partial(_get, fetch), now)


def _check_file(file: Path) -> None:
    """Raise SettingsError if the file holds no keys."""
    try:
        read_keys(file.read_bytes())
    except (OSError, OidcError) as error:
        raise SettingsError(f"cannot read machines.keys_file {file}: {error}") from None


async def _get_path(file: str) -> str:
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


class MachineLoginService:
    """Logs machines in. Belongs to one event loop, and uses the store in a thread."""

    def __init__(
        self,
        context: WorkerContext,
        certificates: UserCertificates | None,
        refused: RefusedKeys,
    ) -> None:
        """Read the files that `[[machines]]` names. Raises SettingsError."""
        self._context = context
        self._certificates = certificates
        self._refused = refused
        self._tokens = MachineTokens(context.settings.machines, context.now)
        complaint = "too many tokens from your {} were refused"
        self._attempts = SourceLimit(ATTEMPTS, complaint, context.now)
        self._rule_rates = SourceRates(LOGIN_RATE_PER_RULE)

    async def log_in(
        self, origin: str, token: str, signature: str, source: Source
    ) -> LoginResult | Denial:
        """Open a sign-in for the key that signed `make_machine_text`, if a table accepts the token."""
        if not self._context.settings.machines:
            return _NONE_HERE
        if self._certificates is None:
            return NO_CERTIFICATES
        if (denial := self._attempts.take(source)) is not None:
            return denial
        key = find_signing_key(signature, NAMESPACE, make_machine_text(origin, token))
        if key is None:
            return Denial(
                Reason.BAD_REQUEST,
                f"the signature is not valid for {origin}: log in with the address that is configured for "
                "this gateway",
            )
        if (denial := self._refused(key.line)) is not None:
            return denial
        try:
            machine, claims = await self._tokens.verify(token)
        except OidcError as error:
            return _log_refusal(error, source)
        self._attempts.give_back(source)
        if (denial := self._count_login(machine)) is not None:
            return denial
        opened = await call_blocking(self._open, machine, claims, key, source)
        if isinstance(opened, Denial):
            return opened
        secret, login = opened
        return await certify_new(self._certificates, login, secret)

    def _open(
        self, machine: MachineSettings, claims: MachineClaims, key: PublicKey, source: Source
    ) -> tuple[str, KeyLogin]:
        """Open a sign-in and return it with its secret. Runs in a thread. Raises RefusedError, StoreError."""
        now, network = self._context.now(), find_source_network(source.address)
        subject = fold(claims.subject)
        try:
            with self._context.change(machine.name, "login.machine", by="machine") as change:
                secret, opened = logins.open_machine_login(
                    change.transaction,
                    machine.user,
                    rule=machine.name,
                    key_fingerprint=key.fingerprint,
                    public_key=key.line,
                    label=subject[:MAX_LABEL_CHARS],
                    source=network,
                    ends_at=now + machine.session_s,
                    now=now,
                )
                change.fields |= {
                    "user": machine.user,
                    "machine": machine.name,
                    "issuer": machine.issuer,
                    "subject": subject,
                    "sign_in": show_id(opened.id),
                    "key": key.fingerprint,
                    "from": network,
                    "expires_at": opened.expires_at,
                }
        except NotFoundError:
            raise RefusedError.with_fix(
                f"the rule {machine.name!r} for machines is for the user {machine.user!r}, who does not "
                "exist",
                f"an administrator adds them with: stagedoor user add {machine.user} --no-password",
            ) from None
        return secret, opened

    def _count_login(self, machine: MachineSettings) -> Denial | None:
        """Count a login by this table. Return a denial if there were too many, else None."""
        name, now = machine.name, self._context.now()
        if self._rule_rates.take(name, now) is not None:
            return None
        wait_s = math.ceil(self._rule_rates.wait_s(name, now))
        return Denial(
            Reason.THROTTLED,
            f"too many jobs log in by the rule {name!r}; try again in {wait_s} s",
            wait_s,
        )


def make_machine_text(origin: str, token: str) -> bytes:
    """Return the text that a machine signs; it is valid only for this gateway and this token."""
    return f"stagedoor machine\n{origin}\n{hash_secret(token).hex()}\n".encode()


def _log_refusal(error: OidcError, source: Source) -> Denial:
    """Log why a token is refused, and return the denial for the machine."""
    _log.warning("machine login refused", why=str(error), source=str(source.address))
    if isinstance(error, UnavailableError):
        return Denial(
            Reason.UPSTREAM_TIMEOUT,
            "the issuer of this token does not publish its keys now; try again (the gateway's log says why)",
            retry_after_s=RETRY_S,
        )
    return Denial(Reason.CREDENTIAL_WRONG, str(error))
