"""Passkeys in the browser: registered by their users, used for step-up and to sign in. Audited.

Each answer is to a challenge of the gateway, which the answer uses up. A challenge is bound to its purpose,
the user, and the browser's sign-in, so an answer that was overheard, or given for something else, is refused.
"""

import math
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from stagedoor.admin.asking import ask, web_service
from stagedoor.admin.change_rate import ChangeRateLimit, count_change
from stagedoor.admin.service import AdminService
from stagedoor.admin.sign_ins import shown_id
from stagedoor.authn.passes import by_passkey
from stagedoor.authn.passkeys import (
    CLONED,
    NOT_RIGHT,
    assertion_options,
    read_assertion,
    read_registration,
    registration_options,
    shown_challenge,
    shown_passkey,
)
from stagedoor.authz.step_up import proved_lately
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import ConflictError, RefusedError
from stagedoor.model.identity import Identity, SignIn
from stagedoor.model.passkey import (
    CHALLENGE_S,
    Challenge,
    ChallengeKind,
    PasskeyRecord,
    RelyingParty,
)
from stagedoor.model.pending_step_up import OVER, PendingStepUp, is_open
from stagedoor.model.policy import Policy
from stagedoor.model.rate import Rate, SiteRates
from stagedoor.model.source import Source, source_network
from stagedoor.settings.settings import Settings
from stagedoor.signin.passkeys import remove_passkey
from stagedoor.store.database import Database, Transaction
from stagedoor.store.sign_in import passes, step_ups
from stagedoor.store.sign_in import passkeys as stored
from stagedoor.wire.oneline import folded

MOST_PASSKEYS = 20
"""The passkeys of one user: enough for their devices, and for a security key in a drawer."""
MOST_CHALLENGES = 10_000
MOST_STRANGERS = 1000
"""Challenges for signing in, counted apart so that strangers take no room from users who are signed in. One
more replaces the oldest."""
BEGINNINGS = Rate(burst=20, interval_s=5.0)
"""The challenges for signing in that a source may get; each is a row in the store. A sign-in that succeeds
gives its own back. At 20 a second, from 100 addresses or 25 IPv6 /48s, a challenge waits for 50 s before it
is the oldest."""
MAX_NAME_CHARS = 64
_CHALLENGE_BYTES = 32
_NO_SIGN_IN = Denial(
    Reason.NO_GRANT,
    "only somebody who has signed in on the WebShell's page can use a passkey there",
)
_NOT_PROVED = Denial(
    Reason.CREDENTIAL_MISSING,
    "anybody who found this browser open could add a passkey of their own: prove first that it is you, by "
    "your password, by a passkey that you have, or at your identity provider",
)

Options = Mapping[str, Any]
Answer = Mapping[str, Any]


class PasskeyService:
    """Answers a browser's passkey requests. Belongs to one event loop.

    It uses the store in a thread; a store that fails is a Denial.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        policy: Callable[[], Policy],
        allowance: ChangeRateLimit,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._database = database
        self._policy = policy
        self._allowance = allowance
        self._now = now
        self._monotonic = monotonic
        self._beginnings = SiteRates(BEGINNINGS)

    def proved_lately(self, identity: Identity) -> bool:
        """Return whether this sign-in stepped up within `step_up.fresh_s`."""
        return proved_lately(self._policy(), identity, self._now() - self._settings.step_up.fresh_s)

    async def of(self, identity: Identity) -> list[PasskeyRecord] | Denial:
        """Return the user's passkeys, the oldest first."""
        return await ask(self._of, identity.name)

    # Registration.

    async def begin_registration(
        self, identity: Identity, rp: RelyingParty, *, proved: bool
    ) -> Options | Denial:
        """Return the options with which the browser creates a passkey.

        `proved` is true if the user has just entered their password. A cookie alone does not suffice:
        a thief who stole it could otherwise step up.
        """
        if "passkeys" not in self._settings.accounts.self_service:
            return Denial.with_mend(
                Reason.NO_GRANT,
                "adding passkeys is not open to people here",
                'an administrator allows it with "passkeys" in accounts.self_service',
                "ask an administrator",
            )
        sign_in = _personal_sign_in(identity)
        if isinstance(sign_in, Denial):
            return sign_in
        if not proved and not self.proved_lately(identity):
            return _NOT_PROVED
        challenge = await self._new_challenge(ChallengeKind.REGISTER, identity)
        if isinstance(challenge, Denial):
            return challenge
        known = await ask(self._of, identity.name)
        if isinstance(known, Denial):
            return known
        return registration_options(rp, identity.name, known, challenge)

    async def finish_registration(
        self, identity: Identity, rp: RelyingParty, name: str, answer: Answer
    ) -> PasskeyRecord | Denial:
        """Store the passkey that the browser created; `name` is the user's name for it."""
        challenge = shown_challenge(answer)
        if challenge is None:
            return NOT_RIGHT
        new = read_registration(rp, challenge, answer)
        if isinstance(new, Denial):
            return new
        label = folded(name).strip()[:MAX_NAME_CHARS] or "passkey"
        passkey = PasskeyRecord(
            new.id, identity.name, label, rp.id, new.credential, new.sign_count, self._now()
        )

        def keep() -> PasskeyRecord | Denial:
            service = self._service(identity)
            try:
                with service.change("passkey.add") as change:
                    taken = self._take_challenge(
                        change.transaction, challenge, ChallengeKind.REGISTER, identity
                    )
                    if taken is None:
                        raise RefusedError(NOT_RIGHT.message)
                    stored.add_passkey(change.transaction, passkey, MOST_PASSKEYS)
                    change.unchanged = True
                    change.fields |= {
                        "user": passkey.user,
                        "passkey": passkey.id,
                        "name": passkey.name,
                    }
            except ConflictError:
                # The message does not say whether the passkey is another user's.
                raise RefusedError("this passkey is registered here already") from None
            return passkey

        return await ask(keep)

    async def remove(self, identity: Identity, id_: str) -> Denial | None:
        """Remove one of the user's passkeys."""
        removed = await ask(remove_passkey, self._service(identity), id_, identity.name)
        return removed if isinstance(removed, Denial) else None

    # Step-up.

    async def begin_step_up(
        self, identity: Identity, rp: RelyingParty, waiting: PendingStepUp | None = None
    ) -> Options | Denial:
        """Return the options with which the browser proves that its user is present.

        The proof is for the browser's own sign-in or, with `waiting`, for that of a terminal whose letters
        the user has typed.
        """
        known = await ask(self._of, identity.name)
        if isinstance(known, Denial):
            return known
        here = stored.of_relying_party(known, rp.id)
        if not here:
            return Denial(
                Reason.NO_APP,
                f"{identity.name} has no passkey for {rp.id}; add one on your account's page",
            )
        challenge = await self._new_challenge(ChallengeKind.STEP_UP, identity, waiting)
        return (
            challenge if isinstance(challenge, Denial) else assertion_options(rp, here, challenge)
        )

    async def finish_step_up(
        self, identity: Identity, rp: RelyingParty, answer: Answer
    ) -> Denial | None:
        """Mark the sign-in as proved from now on, if the answer is right."""
        return await ask(self._step_up, identity, rp, answer)

    def _step_up(self, identity: Identity, rp: RelyingParty, answer: Answer) -> Denial | None:
        """Check the answer and mark the sign-in as proved. Runs in a thread.

        Raises RefusedError, NotFoundError, StoreError.
        """
        challenge, id_ = shown_challenge(answer), shown_passkey(answer)
        if challenge is None or id_ is None:
            return NOT_RIGHT
        with self._database.read() as transaction:
            passkey = stored.find_passkey(transaction, id_)
        # Another user's passkey also signs validly.
        if passkey is None or passkey.user != identity.name:
            return NOT_RIGHT

        def take(transaction: Transaction) -> Challenge | None:
            return self._take_challenge(transaction, challenge, ChallengeKind.STEP_UP, identity)

        count = read_assertion(rp, challenge, passkey, answer)
        if count is CLONED:
            self._report_clone(passkey, take)
        if isinstance(count, Denial):
            return count
        now = self._now()
        with self._service(identity).change("step-up") as change:
            taken = take(change.transaction)
            if taken is None:
                raise RefusedError(NOT_RIGHT.message)
            if not stored.use_passkey(change.transaction, passkey, count, now):
                raise RefusedError(NOT_RIGHT.message)
            proved = self._proved_sign_in(change.transaction, taken)
            passes.step_up(change.transaction, proved, now)
            change.fields |= {
                "user": identity.name,
                "sign_in": shown_id(proved),
                "passkey": passkey.id,
            }
        return None

    def _proved_sign_in(self, transaction: Transaction, answered: Challenge) -> bytes:
        """Return the id of the sign-in that the proof is for.

        Raises RefusedError if its terminal no longer waits.
        """
        if answered.step_up is None:
            assert answered.sign_in is not None, "it was put to one"
            return answered.sign_in
        waiting = step_ups.find(transaction, answered.step_up)
        if not is_open(waiting, answered.user or "", self._now()):
            raise RefusedError(OVER)
        assert waiting is not None, "it lasts"
        return waiting.sign_in

    def _report_clone(
        self, passkey: PasskeyRecord, take: Callable[[Transaction], Challenge | bool | None]
    ) -> None:
        """Write to the audit that a passkey seems to be copied. `take` uses up the challenge.

        An answer that is sent a second time has an old counter as well, and is no sign of a copy: then
        `take` returns nothing. Raises RefusedError in that case, StoreError.
        """
        service = web_service(self._settings, self._database, passkey.user)
        with service.change("passkey.cloned") as change:
            if not take(change.transaction):
                raise RefusedError(NOT_RIGHT.message)
            change.unchanged = True
            change.fields |= {"user": passkey.user, "passkey": passkey.id, "name": passkey.name}

    # Signing in.

    @property
    def is_sign_in_possible(self) -> bool:
        """Return whether any user may have a password, which a passkey can replace."""
        return self._settings.accounts.passwords_for != frozenset()

    async def begin_sign_in(self, rp: RelyingParty, source: Source) -> Options | Denial:
        """Return the options with which a browser signs in a user who is not known yet."""
        network, now = source_network(source.address), self._now()
        if self._beginnings.take(network, now) is None:
            whose = self._beginnings.waiting_scope(network, now)
            wait_s = math.ceil(self._beginnings.wait_s(network, now))
            why = f"too many sign-ins by a passkey come from your {whose}; try again in {wait_s} s"
            return Denial(Reason.THROTTLED, why, wait_s)
        record = Challenge(ChallengeKind.SIGN_IN, now + CHALLENGE_S)
        challenge = await self._store_challenge(record, now, MOST_STRANGERS)
        return challenge if isinstance(challenge, Denial) else assertion_options(rp, [], challenge)

    async def finish_sign_in(
        self, rp: RelyingParty, answer: Answer, source: Source
    ) -> Identity | Denial:
        """Return the user's identity, if the answer is right and the user has a password here."""
        identity = await ask(self._sign_in, rp, answer)
        if not isinstance(identity, Denial):
            self._beginnings.give_back(source_network(source.address))
        return identity

    def _sign_in(self, rp: RelyingParty, answer: Answer) -> Identity | Denial:
        """Check the answer and return the user's identity. Runs in a thread.

        Raises RefusedError, StoreError.
        """
        challenge, id_ = shown_challenge(answer), shown_passkey(answer)
        if challenge is None or id_ is None:
            return NOT_RIGHT
        with self._database.read() as transaction:
            passkey = stored.find_passkey(transaction, id_)
            pending = stored.find_challenge(transaction, challenge, self._now())
        if passkey is None or pending is None or pending.purpose is not ChallengeKind.SIGN_IN:
            return NOT_RIGHT
        count = read_assertion(rp, challenge, passkey, answer)
        if isinstance(count, Denial):
            if count is CLONED:
                self._report_clone(passkey, lambda its: stored.take_challenge(its, challenge))
            return count
        user = self._policy().users.get(passkey.user)
        if user is None or user.password_hash is None:
            return Denial(
                Reason.CREDENTIAL_WRONG,
                f"a passkey signs in those who have a password here, and {passkey.user} has none; sign in at "
                "your identity provider",
            )
        service = web_service(self._settings, self._database, passkey.user)
        with service.change("passkey.sign-in") as change:
            change.unchanged = True
            if not (
                stored.take_challenge(change.transaction, challenge)
                and stored.use_passkey(change.transaction, passkey, count, self._now())
            ):
                raise RefusedError(NOT_RIGHT.message)
            change.fields |= {"user": passkey.user, "passkey": passkey.id}
        return by_passkey(user, passkey.id)

    # Challenges.

    async def _new_challenge(
        self,
        purpose: ChallengeKind,
        identity: Identity,
        waiting: PendingStepUp | None = None,
    ) -> bytes | Denial:
        """Store a new challenge for this user and sign-in, and return it (32 bytes)."""
        if (denial := count_change(self._allowance, identity, self._monotonic())) is not None:
            return denial
        sign_in = _personal_sign_in(identity)
        if isinstance(sign_in, Denial):
            return sign_in
        now = self._now()
        step_up = None if waiting is None else waiting.id
        record = Challenge(purpose, now + CHALLENGE_S, identity.name, sign_in.id, step_up)
        return await self._store_challenge(record, now, MOST_CHALLENGES)

    async def _store_challenge(self, record: Challenge, now: float, most: int) -> bytes | Denial:
        """Store a challenge among at most `most` of its kind, and return its bytes."""
        challenge = secrets.token_bytes(_CHALLENGE_BYTES)
        failed = await ask(stored.add_challenge, self._database, challenge, record, now, most)
        return challenge if failed is None else failed

    def _take_challenge(
        self,
        transaction: Transaction,
        challenge: bytes,
        purpose: ChallengeKind,
        identity: Identity,
    ) -> Challenge | None:
        """Use up a challenge and return it, so that it cannot be answered again.

        Return None if it is not for this sign-in or this purpose, or if it was answered before.
        """
        pending = stored.find_challenge(transaction, challenge, self._now())
        own = None if identity.sign_in is None else identity.sign_in.id
        if pending is None or pending.purpose is not purpose:
            return None
        if pending.user != identity.name or pending.sign_in is None or pending.sign_in != own:
            return None
        return pending if stored.take_challenge(transaction, challenge) else None

    def _of(self, user: str) -> list[PasskeyRecord]:
        with self._database.read() as transaction:
            return stored.list_passkeys(transaction, user)

    def _service(self, identity: Identity) -> AdminService:
        return web_service(self._settings, self._database, identity.name)


def _personal_sign_in(identity: Identity) -> SignIn | Denial:
    """Return the sign-in of a person. Refuse the identity of a token or a program."""
    if not identity.is_person or identity.sign_in is None:
        return _NO_SIGN_IN
    return identity.sign_in
