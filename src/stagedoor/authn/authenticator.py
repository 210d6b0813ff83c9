"""The authn stage, put together: decide, throttle, remember, and verify in a bounded pool."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from stagedoor.authn import passwords
from stagedoor.authn.decide import CheckPassword, confirm, decide, wrong_password
from stagedoor.authn.decide_key import Trust, decide_key, revoked_now
from stagedoor.authn.throttle import Throttle, ThrottleLimits, key, source_network
from stagedoor.authn.verified import VerifiedPasswords
from stagedoor.model.credential import Credential, KeyCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy
from stagedoor.model.source import Source
from stagedoor.model.units import MINUTE_S


@dataclass(frozen=True, slots=True)
class VerifyLimits:
    """What passwords may cost a worker.

    `threads` argon2 verifications run at once, each one CPU and 64 MiB; `waiting` more may queue,
    of which one source (see `throttle.source_network`) may hold `waiting_per_source`.
    `remember_s` is how long a verified password is good without another verification.
    """

    threads: int = 2
    waiting: int = 64
    waiting_per_source: int = 16
    remember_s: float = 10 * MINUTE_S
    remembered: int = 10_000


class Authenticator:
    """Satisfies `session.ports.Authenticator`. Belongs to one event loop.

    `policy` returns the policy as it is now, `last_policy` as it was last read; `trust` which user
    CAs are believed and what was revoked, or why no key can be judged now; `now` the time, seconds
    since the epoch; `away` whether the policy is not known any more, since the store was out of
    reach for too long.
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
        away: Callable[[], bool] = lambda: False,
    ) -> None:
        self._policy = policy
        self._last_policy = last_policy or policy
        self._trust = trust
        self._away = away
        self._now = now
        self._limits = limits or VerifyLimits()
        self._throttle = Throttle(throttle)
        self._verified = VerifiedPasswords(self._limits.remembered, self._limits.remember_s)
        self._pool = ThreadPoolExecutor(self._limits.threads, thread_name_prefix="argon2")
        self._running: dict[tuple[bytes, str], asyncio.Task[Identity | Denial]] = {}
        self._per_source: Counter[str] = Counter()

    async def authenticate(
        self, credential: Credential | None, source: Source
    ) -> Identity | Denial:
        """Who is this? Never says whether a name exists, in words or in time."""
        if self._away():
            # Nobody's credential is wrong, and no try counts. Who asks is not known, so where the
            # store is is none of his business.
            return Denial(
                Reason.AUDIT_UNAVAILABLE,
                "nobody can be let in now: the gateway cannot read who may enter; its log says why",
                retry_after_s=5,
            )
        if isinstance(credential, KeyCredential):
            return self._key(credential, source)
        verdict = decide(self._policy(), credential, self._now())
        if not isinstance(verdict, CheckPassword):
            return verdict
        return await self._password(verdict, source)

    def still_holds(self, credential: Credential, identity: Identity) -> Denial | None:
        """Why somebody who was let in with `credential` has to leave now; None if he may stay."""
        policy = self._last_policy()
        if identity.name not in policy.users:
            return Denial(Reason.NO_GRANT, f"there is no user {identity.name!r} any more")
        shown = identity.credential_id
        if identity.method is Method.TOKEN and shown not in policy.tokens:
            return Denial(Reason.NO_GRANT, f"token {shown} of {identity.name!r} was removed")
        if not isinstance(credential, KeyCredential):
            return None
        record = policy.keys.get(credential.fingerprint)
        if credential.certificate is None and (record is None or record.user != identity.name):
            return Denial(
                Reason.NO_GRANT, f"key {credential.fingerprint} of {identity.name!r} was removed"
            )
        trust = self._trust()
        # A list that cannot be read lets nobody in, but cuts nobody off.
        return None if isinstance(trust, Denial) else revoked_now(credential, trust)

    def _key(self, credential: KeyCredential, source: Source) -> Identity | Denial:
        trust = self._trust()
        if isinstance(trust, Denial):
            return trust
        return decide_key(self._policy(), credential, trust, source, self._now())

    def close(self) -> None:
        """Let the threads go; verifications that still wait are dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _password(self, check: CheckPassword, source: Source) -> Identity | Denial:
        now = self._now()
        bucket = key(check.name, source.address)
        # Before the cache: else a throttled guesser could go on guessing against it.
        wait_s = self._throttle.blocked_s(bucket, now)
        if wait_s > 0:
            return _throttled(wait_s)
        seal = self._verified.seal(check.name, check.password_hash or "", check.password)
        if check.password_hash is not None and self._verified.holds(seal, now):
            return confirm(self._policy(), check)

        # The same credential from the same source many times at once (ssh, scp and an editor
        # start together) is one try and one verification.
        network = source_network(source.address)
        task = self._running.get((seal, network))
        if task is None:
            if len(self._running) >= self._limits.threads + self._limits.waiting:
                return Denial(
                    Reason.OVERLOADED, "too many passwords wait to be verified; try again", 2
                )
            if self._per_source[network] >= self._limits.waiting_per_source:
                return _throttled(1)
            wait_s = self._throttle.start(bucket, now)
            if wait_s > 0:
                return _throttled(wait_s)
            task = asyncio.create_task(self._verify(check, seal, bucket))
            self._running[seal, network] = task
            self._per_source[network] += 1
            task.add_done_callback(lambda _: self._done(seal, network))
        # Shielded: hanging up does not make a guess uncounted.
        return await asyncio.shield(task)

    def _done(self, seal: bytes, network: str) -> None:
        del self._running[seal, network]
        self._per_source[network] -= 1
        if not self._per_source[network]:
            del self._per_source[network]

    async def _verify(
        self, check: CheckPassword, seal: bytes, bucket: tuple[str, str]
    ) -> Identity | Denial:
        loop = asyncio.get_running_loop()
        try:
            right = await loop.run_in_executor(self._pool, _verify, check)
        except BaseException:
            self._throttle.abandoned(bucket)
            raise
        # The policy may have changed meanwhile.
        verdict = confirm(self._policy(), check) if right else wrong_password(check.name)
        if isinstance(verdict, Identity):
            self._throttle.passed(bucket)
            self._verified.put(seal, self._now())
        else:
            self._throttle.failed(bucket, self._now())
        return verdict


def _verify(check: CheckPassword) -> bool:
    """In a thread. An unknown name costs what a wrong password costs."""
    right = passwords.verify(check.password_hash or passwords.dummy_hash(), check.password)
    return right and check.password_hash is not None


def _throttled(wait_s: float) -> Denial:
    seconds = max(math.ceil(wait_s), 1)
    return Denial(
        Reason.THROTTLED,
        f"too many wrong passwords for this name from your address; try again in {seconds} s",
        seconds,
    )
