"""Passwords: their hashes (argon2id, RFC 9106), the threads that verify, and what was verified recently.

A verified password is remembered as a keyed BLAKE2b (RFC 7693) of the name, the user's current hash and the
password, under a key that lives as long as the process. So no password is kept, and a changed hash
invalidates the old entry.
"""

import asyncio
import base64
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import cache
from hashlib import blake2b

import argon2

from stagedoor.model.fair_queue import FairQueue
from stagedoor.model.units import MINUTE_S

# RFC 9106 §4, second recommended option (64 MiB, 3 passes), with one lane instead of four: a lane is a
# thread, and `VerifyPool` limits the CPUs in use by counting verifications.
_HASHER = argon2.PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=1)


def hash_password(password: str) -> str:
    """Hash a password with a fresh salt. Blocks for about 0.15 s, using one CPU and 64 MiB."""
    return _HASHER.hash(password)


def verify(password_hash: str, password: str) -> bool:
    """Return whether `password` has this hash. A damaged hash matches none. Blocks like `hash_password`."""
    try:
        return _HASHER.verify(password_hash, password.encode("utf-8", "surrogatepass"))
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


@cache
def make_dummy_hash() -> str:
    """Return a hash that no known password matches, with the current parameters.

    Passwords for unknown names are verified against it, so that they take as long as wrong passwords for
    known names. It consists of random bytes, so no hashing is needed to make it.
    """
    salt, digest = (_unpadded(secrets.token_bytes(size)) for size in (16, 32))
    cost = f"m={_HASHER.memory_cost},t={_HASHER.time_cost},p={_HASHER.parallelism}"
    return f"$argon2id$v=19${cost}${salt}${digest}"


def _unpadded(value: bytes) -> str:
    """Encode as PHC strings do: Base64 without `=`."""
    return base64.b64encode(value).decode("ascii").rstrip("=")


class PoolLimit(Enum):
    """The limit that was reached: that of this source, or that of all sources together."""

    SOURCE = "source"
    ALL = "all"


class VerifyPool:
    """A pool in which `threads` verifications run at once and `waiting` more may wait.

    One source may have `per_source` of both. Belongs to one event loop.
    """

    def __init__(self, threads: int, waiting: int, per_source: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._free = threads
        self._per_source = per_source
        self._of_source: Counter[str] = Counter()
        self._turns: FairQueue[asyncio.Future[bool]] = FairQueue(waiting)

    async def run(self, source: str, work: Callable[[], bool]) -> bool | PoolLimit:
        """Call `work` in a thread on this source's turn. Return its result, or why it was not called."""
        if self._of_source[source] >= self._per_source:
            return PoolLimit.SOURCE
        self._of_source[source] += 1
        try:
            if not await self._wait_for_turn(source):
                return PoolLimit.ALL
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
            finally:
                self._free_thread()
        finally:
            self._of_source[source] -= 1
            if not self._of_source[source]:
                del self._of_source[source]

    def stop_threads(self) -> None:
        """Stop the threads. Work that has not begun is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _wait_for_turn(self, source: str) -> bool:
        """Wait for a free thread. Return False if another source took this place in the queue."""
        if self._free:
            self._free -= 1
            return True
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        displaced = self._turns.queue_for_turn(turn, source)
        if displaced is not None and not displaced.done():
            displaced.set_result(False)
        try:
            return await turn
        except asyncio.CancelledError:
            self._turns.remove(turn)
            if turn.done() and not turn.cancelled() and turn.result():
                self._free_thread()
            raise

    def _free_thread(self) -> None:
        """Give a thread to the next in the queue, or count it as free."""
        while (turn := self._turns.take()) is not None:
            if not turn.done():  # otherwise the waiting task has just been cancelled
                turn.set_result(True)
                return
        self._free += 1


class VerifiedPasswords:
    """A set of at most `entries` passwords, each kept for `age_s` seconds after its verification.

    Using an entry does not keep it longer.
    """

    def __init__(self, entries: int = 10_000, age_s: float = 10 * MINUTE_S) -> None:
        self._key = secrets.token_bytes(32)
        self._entries = entries
        self._age_s = age_s
        self._until: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._names: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._until)

    def seal(self, name: str, password_hash: str, password: str) -> bytes:
        """Return the keyed hash of the three arguments, 32 bytes."""
        parts = [p.encode("utf-8", "surrogatepass") for p in (name, password_hash, password)]
        # The lengths come first, so that no other three parts give the same bytes.
        message = b"%d:%d:%s" % (len(parts[0]), len(parts[1]), b"".join(parts))
        return blake2b(message, digest_size=32, key=self._key).digest()

    def has_name(self, name: str) -> bool:
        """Return whether a password for this name is remembered, and so could be guessed here."""
        return name in self._names

    def has_seal(self, seal: bytes, now: float) -> bool:
        """Return whether this seal was added less than `age_s` ago."""
        entry = self._until.get(seal)
        if entry is None:
            return False
        if entry[0] <= now:
            self._forget(seal)
            return False
        return True

    def put(self, seal: bytes, name: str, now: float) -> None:
        """Remember a seal. If there is no room, the oldest is dropped."""
        if seal in self._until:
            self._forget(seal)
        self._until[seal] = (now + self._age_s, name)
        self._names[name] += 1
        while len(self._until) > self._entries:
            self._forget(next(iter(self._until)))

    def _forget(self, seal: bytes) -> None:
        _, name = self._until.pop(seal)
        self._names[name] -= 1
        if not self._names[name]:
            del self._names[name]
