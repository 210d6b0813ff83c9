"""The authentication stage. It judges credentials, throttles, and verifies passwords in a bounded pool."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from stagedoor.authn import passwords
from stagedoor.authn.decide import (
    CheckPassword,
    confirm_password,
    judge_credential,
    make_password_denial,
)
from stagedoor.authn.decide_key import Trust, explain_revocation, judge_key
from stagedoor.authn.packed_identity import restore_identity
from stagedoor.authn.passes import judge_pass
from stagedoor.authn.passwords import PoolLimit, VerifiedPasswords, VerifyPool
from stagedoor.authn.throttle import Throttle, ThrottleKey, ThrottleLimits, make_key
from stagedoor.model.credential import (
    Credential,
    KeyCredential,
    PasswordCredential,
    find_login_secret,
)
from stagedoor.model.denial import POLICY_UNAVAILABLE, Denial, Reason
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy
from stagedoor.model.rate import Rate, SiteRates
from stagedoor.model.secret import hash_secret
from stagedoor.model.source import Source, find_source_network
from stagedoor.model.units import MINUTE_S
from stagedoor.model.webpass import KeyLogin, SignInPass

FULL_S = 2
OTHERWISE = "or use a token or key, which never has to wait"

FAILURES = Rate(burst=50, interval_s=3.0)
"""The wrong passwords allowed from one address (or IPv6 /64), for all names together; an IPv6 /48 may have
four times as many. Fifty are enough for an office behind one address, and too few to guess a password."""
FindLogin = Callable[[str], Awaitable[KeyLogin | Denial | None]]
FindSignIn = Callable[[int], Awaitable[SignInPass | Denial | None]]
_NO_LOGIN = Denial(
    Reason.CREDENTIAL_WRONG, "this login is over, or another user's; log in with: stagedoor login"
)


@dataclass(frozen=True, slots=True)
class VerifyLimits:
    """The limits on the cost of passwords in a worker.

    At most `threads` argon2 verifications run at once, each with one CPU and 64 MiB. `waiting` more may
    queue, and one source (see `model.source.find_source_network`) may have `waiting_per_source` of both.
    `failures` limits the wrong passwords of one source, whatever the names. A verified password is accepted
    for `remember_s` seconds without another verification, and at most `remembered` passwords are remembered.
    """

    threads: int = 2
    waiting: int = 64
    waiting_per_source: int = 16
    failures: Rate = FAILURES
    remember_s: float = 10 * MINUTE_S
    remembered: int = 10_000


class Authenticator:
    """The authn stage. Belongs to one event loop.

    `policy` returns the current policy, and `last_policy` the one that was read last. `trust` returns the
    trusted user CAs and the revocations, or a denial while no key can be judged. `now` returns the time in
    seconds since the epoch. `find_login` looks up a sign-in in the store by a login's secret, and
    `find_sign_in` by its number, because the policy does not have the time of the provider's last answer.
    `stale_s` maps identity providers to seconds (`authn.passes`).
    """

    def __init__(
        self,
        policy: Callable[[], Policy],
        now: Callable[[], float],
        *,
        limits: VerifyLimits | None = None,
        throttle: ThrottleLimits | None = None,
        trust: Callable[[], Trust | Denial] = Trust,
        last_policy: Callable[[], Policy] | None = None,
        find_login: FindLogin | None = None,
        find_sign_in: FindSignIn | None = None,
        stale_s: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self._policy = policy
        self._last_policy = last_policy or policy
        self._trust = trust
        self._find_login = find_login
        self._find_sign_in = find_sign_in
        self._stale_s = stale_s
        self._now = now
        self._limits = limits or VerifyLimits()
        self._throttle = Throttle(throttle)
        self._verified = VerifiedPasswords(self._limits.remembered, self._limits.remember_s)
        self._guesses = Throttle(throttle)
        """Guesses at remembered passwords. They are answered at once, so they must not be more frequent than
        argon2 verifications."""
        self._pool = VerifyPool(
            self._limits.threads, self._limits.waiting, self._limits.waiting_per_source
        )
        self._sources = SiteRates(self._limits.failures)
        self._stray_logins = SiteRates(self._limits.failures)
        """Counted separately, so that a job that keeps using an ended login does not delay passwords."""
        self._running: dict[tuple[bytes, str], asyncio.Task[Identity | Denial]] = {}

    async def authenticate(
        self, credential: Credential | None, source: Source
    ) -> Identity | Denial:
        """Return the identity that `credential` proves, or a denial.

        Neither its words nor its timing reveal whether a name exists.
        """
        if self._policy().is_unavailable:
            return POLICY_UNAVAILABLE  # refuse no credential as wrong, and count no try
        if isinstance(credential, KeyCredential):
            return await self._judge_freshness(self._judge_key(credential, source))
        if (secret := find_login_secret(credential)) is not None:
            name = credential.name if isinstance(credential, PasswordCredential) else None
            return await self._judge_login(secret, name, source)
        verdict = judge_credential(self._policy(), credential, self._now())
        if not isinstance(verdict, CheckPassword):
            return verdict
        return await self._judge_password(verdict, source)

    def mark_user_verified(self, identity: Identity) -> Identity:
        """Return `identity` as one whose user was verified just now.

        Call this when the user's security key has just asked for a PIN or a fingerprint. The identity of a
        sign-in is returned unchanged: an attacker with the browser's cookie may have bound a key of
        their own to it.
        """
        if identity.sign_in is not None:
            return identity
        return replace(identity, user_verified_at=self._now())

    def restore(self, packed: str) -> Identity | Denial:
        """Return the identity of a session that outlived its worker (`authn.packed_identity`)."""
        return restore_identity(packed, self._last_policy())

    def check_still_valid(self, credential: Credential, identity: Identity) -> Denial | None:
        """Return why a session that `credential` opened must end now, or None if it may continue."""
        until = self._last_policy().check_credential(identity, self._now())
        if isinstance(until, Denial):
            return until
        if not isinstance(credential, KeyCredential):
            return None
        trust = self._trust()
        # While the revocation list cannot be read, new logins are refused but sessions continue.
        return None if isinstance(trust, Denial) else explain_revocation(credential, trust)

    def _judge_key(self, credential: KeyCredential, source: Source) -> Identity | Denial:
        trust = self._trust()
        if isinstance(trust, Denial):
            return trust
        return judge_key(self._policy(), credential, trust, source, self._now())

    async def _judge_freshness(self, verdict: Identity | Denial) -> Identity | Denial:
        """Return `verdict`, or a denial if the provider of its sign-in has not answered for too long."""
        if isinstance(verdict, Denial) or verdict.sign_in is None or self._find_sign_in is None:
            return verdict
        if verdict.method is not Method.SSO:
            return verdict
        sign_in = await self._find_sign_in(verdict.sign_in.number)
        if isinstance(sign_in, Denial):
            return sign_in
        return judge_pass(sign_in, self._policy(), self._now(), self._stale_s)

    async def _judge_login(
        self, secret: str, name: str | None, source: Source
    ) -> Identity | Denial:
        """Judge the secret of a login, which must belong to `name` if one is given.

        Each wrong secret costs a query of the store, so wrong ones are counted.
        """
        network, now = find_source_network(source.address), self._now()
        if self._stray_logins.take(network, now) is None:
            return _make_throttled_denial(
                "too many ended logins came from your "
                f"{self._stray_logins.find_waiting_scope(network, now)}",
                self._stray_logins.wait_s(network, now),
            )
        login = None if self._find_login is None else await self._find_login(secret)
        if isinstance(login, Denial):
            self._stray_logins.give_back(network)
            return login
        if login is None:
            # The id of a sign-in is the digest of its secret, so only its owner sees why it has ended.
            why = self._policy().signed_out.get(hash_secret(secret))
            return Denial(Reason.CREDENTIAL_WRONG, why) if why else _NO_LOGIN
        if name not in (None, login.name):
            return _NO_LOGIN
        self._stray_logins.give_back(network)
        return judge_pass(login, self._policy(), self._now(), self._stale_s)

    def stop_threads(self) -> None:
        """Stop the threads, and drop the verifications that still wait."""
        self._pool.stop_threads()

    async def _judge_password(self, check: CheckPassword, source: Source) -> Identity | Denial:
        now = self._now()
        bucket = make_key(check.name, source.address)
        # Before the remembered passwords, so that a throttled attacker cannot continue to guess at those.
        wait_s = self._throttle.measure_block(bucket, now)
        if wait_s > 0:
            return _make_throttled_denial(
                "too many wrong passwords for this name came from your address", wait_s
            )
        seal = self._verified.seal(check.name, check.password_hash or "", check.password)
        if check.password_hash is not None and self._is_remembered(check.name, bucket, seal, now):
            return confirm_password(self._policy(), check)

        # If one source sends the same credential several times at once (ssh, scp and an editor start
        # together), that is one try and one verification.
        network = find_source_network(source.address)
        task = self._running.get((seal, network))
        if task is None:
            denial = self._start(bucket, network, now)
            if denial is not None:
                return denial
            task = asyncio.create_task(self._verify(check, seal, bucket, network))
            self._running[seal, network] = task
            task.add_done_callback(lambda _: self._running.pop((seal, network)))
        # Shielded, so that a guess counts even if the client hangs up.
        return await asyncio.shield(task)

    def _is_remembered(self, name: str, bucket: ThrottleKey, seal: bytes, now: float) -> bool:
        """Return whether this password was verified recently, even while the pool has no room.

        Each look-up is a guess. It is counted separately from guesses that argon2 verifies: otherwise a
        refusal for lack of room would reveal that a name exists.
        """
        if self._guesses.measure_block(bucket, now) > 0:
            return False
        if self._verified.has_seal(seal, now):
            self._guesses.record_success(bucket)
            return True
        if self._verified.has_name(name) and self._guesses.start(bucket, now) == 0:
            self._guesses.record_failure(bucket, now, seal)
        return False

    def _start(self, bucket: ThrottleKey, network: str, now: float) -> Denial | None:
        """Count a try as wrong until it proves right. Return a denial if it is not allowed now."""
        if self._sources.take(network, now) is None:
            return _make_throttled_denial(
                "too many wrong passwords, for any names, came from your "
                f"{self._sources.find_waiting_scope(network, now)}",
                self._sources.wait_s(network, now),
            )
        wait_s = self._throttle.start(bucket, now)
        if wait_s > 0:
            self._sources.give_back(network)
            return _make_throttled_denial(
                "other passwords for this name from your address are being verified", wait_s
            )
        return None

    async def _verify(
        self, check: CheckPassword, seal: bytes, bucket: ThrottleKey, network: str
    ) -> Identity | Denial:
        try:
            is_right = await self._pool.run(network, partial(_verify, check))
        except BaseException:
            self._abandon(bucket, network)
            raise
        if isinstance(is_right, PoolLimit):
            self._abandon(bucket, network)
            return self._make_full_denial(is_right)
        # The policy may have changed meanwhile.
        verdict = (
            confirm_password(self._policy(), check)
            if is_right
            else make_password_denial(check.name, self._policy())
        )
        if isinstance(verdict, Identity):
            self._throttle.record_success(bucket)
            self._guesses.record_success(bucket)
            self._sources.give_back(network)
            self._verified.put(seal, check.name, self._now())
        else:
            self._throttle.record_failure(bucket, self._now(), seal)
        return verdict

    def _abandon(self, bucket: ThrottleKey, network: str) -> None:
        self._throttle.abandon(bucket)
        self._sources.give_back(network)

    def _make_full_denial(self, full: PoolLimit) -> Denial:
        limits = self._limits
        if full is PoolLimit.SOURCE:
            return _make_throttled_denial(
                f"{limits.waiting_per_source} passwords from your address are being verified", 1
            )
        return Denial(
            Reason.OVERLOADED,
            f"{limits.waiting} passwords wait to be verified, and no address has more of them than "
            f"yours; try again in {FULL_S} s, {OTHERWISE}",
            FULL_S,
        )


def _verify(check: CheckPassword) -> bool:
    """Verify the password, in a thread. An unknown name takes as long as a known one."""
    is_right = passwords.verify(check.password_hash or passwords.make_dummy_hash(), check.password)
    return is_right and check.password_hash is not None


def _make_throttled_denial(why: str, wait_s: float) -> Denial:
    seconds = max(math.ceil(wait_s), 1)
    return Denial(Reason.THROTTLED, f"{why}; try again in {seconds} s, {OTHERWISE}", seconds)
