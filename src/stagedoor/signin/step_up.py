"""Step-up of terminals: a connection waits until its user proves in a browser that they are present.

The terminal's side begins a step-up and waits; the browser's side checks the letters that the terminal shows.
"""

import asyncio
import secrets
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from stagedoor.admin.blocking import call_blocking, call_in_transaction, run_in_thread
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.sign_ins import show_id
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import RefusedError
from stagedoor.model.identity import Identity, Method
from stagedoor.model.letters import choose_letters, hash_letters, show_letters
from stagedoor.model.pending_login import describe_tries
from stagedoor.model.pending_step_up import (
    STEP_UP_OVER,
    STEP_UP_PENDING_S,
    PendingStepUp,
    is_open,
    try_letters,
)
from stagedoor.model.source import Source, find_source_network
from stagedoor.model.target import Target
from stagedoor.model.units import MINUTE_S
from stagedoor.model.wait_limit import WaitLimit
from stagedoor.signin.site import read_step_up_rules
from stagedoor.store.database import Transaction
from stagedoor.store.sign_in import passes, step_ups
from stagedoor.store.sign_in.passkeys import list_passkeys
from stagedoor.wire.oneline import fold

REUSED_ABOVE_S = 60.0
"""The next connection of the same sign-in reuses a step-up that has more than this long left: one address and
one set of letters for 50 hosts."""
MAX_STEP_UPS_PER_SIGN_IN = 50
"""The step-ups of one sign-in that wait at once, on all workers and gateways; each is a row in the store."""
MAX_WAITING = 200
"""The connections of one sign-in that wait in one worker."""


@dataclass(frozen=True, slots=True)
class _LastStepUp:
    """A step-up that waits. `instruction` is shown to its user; `ends_at` is seconds since the epoch."""

    id: str
    ends_at: float
    instruction: str = field(repr=False)


def find_open_step_up(transaction: Transaction, id_: str, user: str, now: float) -> PendingStepUp:
    """Return the step-up of `user` that waits under `id_`. Raises RefusedError if it no longer waits."""
    step_up = step_ups.find(transaction, id_)
    if step_up is None or not is_open(step_up, user, now):
        raise RefusedError(STEP_UP_OVER)
    return step_up


class StepUpService:
    """Implements `session.ports.StepUps`. Belongs to one event loop, and uses the store in a thread."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._url = read_step_up_rules(context.settings).url
        self._last_step_ups: dict[bytes, _LastStepUp] = {}
        """The latest step-up of each sign-in, by the sign-in's id."""
        self._beginning = asyncio.Lock()
        self._waiting = WaitLimit(MAX_WAITING)

    # The terminal's side.

    async def begin(self, identity: Identity, target: Target | str, source: Source) -> str | None:
        """Begin a step-up and return the instruction for its user, or None if they cannot step up here.

        `target` is what the proof is for: an app, or text.
        A step-up of the same sign-in that has long enough left is used again, unless it is done.
        """
        if identity.sign_in is None or self._url is None:
            return None
        async with self._beginning:  # when 50 connections come at once, one begins
            return await self._make_instruction(identity, identity.sign_in.id, target, source)

    async def _make_instruction(
        self, identity: Identity, sign_in: bytes, target: Target | str, source: Source
    ) -> str | None:
        now = self._context.now()
        last = self._last_step_ups.get(sign_in)
        if last is not None and last.ends_at - now > REUSED_ABOVE_S:
            pending = await call_in_transaction(self._context.database.read, step_ups.find, last.id)
            if (
                isinstance(pending, PendingStepUp)
                and pending.tries_left > 0
                and not self.is_done(pending)
            ):
                return last.instruction
        id_, letters = secrets.token_urlsafe(9), choose_letters(secrets.token_bytes(64))
        step_up = PendingStepUp(
            id_,
            sign_in,
            identity.name,
            target if isinstance(target, str) else target.login_name,
            self._find_label(sign_in),
            find_source_network(source.address),
            hash_letters(id_, letters),
            now,
            now + STEP_UP_PENDING_S,
        )
        if (
            await call_blocking(
                step_ups.add, self._context.database, step_up, now, MAX_STEP_UPS_PER_SIGN_IN
            )
            is not True
        ):
            return None  # the refusal itself says where to prove it
        instruction = (
            f"open {self._url}/{id_} and type {show_letters(letters)} there, within "
            f"{STEP_UP_PENDING_S / MINUTE_S:.3g} min"
        )
        self._last_step_ups = {
            id_: last for id_, last in self._last_step_ups.items() if last.ends_at > now
        }
        self._last_step_ups[sign_in] = _LastStepUp(id_, step_up.ends_at, instruction)
        return instruction

    def _find_label(self, sign_in: bytes) -> str:
        """Return the name of the machine that has the sign-in, or a general name for other sign-ins."""
        for login in self._context.policy().bound_keys.values():
            if login.id == sign_in:
                return fold(login.label or "") or "a machine"
        return "a browser, or a program"

    def count_waiting(self, identity: Identity) -> AbstractContextManager[bool]:
        """Count a connection that waits. The block gets False if too many of the same sign-in wait here."""
        return self._waiting.count(None if identity.sign_in is None else identity.sign_in.id)

    # The browser's side.

    async def find(self, identity: Identity, id_: str) -> PendingStepUp | Denial:
        """Return the user's step-up that waits under `id_`. Refuse another user's as if there were none."""
        step_up = await call_in_transaction(self._context.database.read, step_ups.find, id_)
        if step_up is None or (
            isinstance(step_up, PendingStepUp)
            and not is_open(step_up, identity.name, self._context.now())
        ):
            return Denial(Reason.NO_APP, STEP_UP_OVER)
        return step_up

    async def may_use_password(self, identity: Identity) -> bool:
        """Return whether the user may prove by password that they are there, for administrators' pages.

        A user who signed in by a provider proves it there, and one with a passkey by that.
        """
        if identity.method is not Method.PASSWORD:
            return False
        own = await call_in_transaction(self._context.database.read, list_passkeys, identity.name)
        return not isinstance(own, Denial) and not own

    @run_in_thread
    def accept_password(self, identity: Identity) -> None:
        """Store that the user has just typed their password, which the caller has verified."""
        assert identity.sign_in is not None, "a browser's user has signed in"
        sign_in, now = identity.sign_in.id, self._context.now()
        with self._context.change(identity.name, "step-up.password") as change:
            until = now + self._context.settings.step_up.fresh_s
            user = passes.prove_by_password(change.transaction, sign_in, now, until)
            change.fields |= {"user": user, "sign_in": show_id(sign_in)}

    def is_done(self, step_up: PendingStepUp) -> bool:
        """Return whether the step-up's sign-in was proved since the step-up began."""
        at = self._context.policy().stepped_up.get(step_up.sign_in)
        return at is not None and at >= step_up.created_at

    @run_in_thread
    def check(self, identity: Identity, id_: str, letters: str) -> PendingStepUp | Denial:
        """Return the user's step-up if its letters are right. Wrong letters use up one of its tries."""
        with self._context.database.read() as transaction:
            step_up = find_open_step_up(transaction, id_, identity.name, self._context.now())
        is_right, after = try_letters(step_up, letters)
        if is_right:
            return step_up
        with self._context.change(identity.name, "step-up.letters") as change:
            change.unchanged = True
            if not step_ups.use_try(change.transaction, step_up, after):
                raise RefusedError("another try came at the same time; type the letters again")
            change.fields |= {
                "user": identity.name,
                "from": step_up.source,
                "tries_left": after.tries_left,
            }
        left = after.tries_left
        again = describe_tries(left) if left else "connect again for other letters"
        return Denial(
            Reason.CREDENTIAL_WRONG, f"those are not the letters that the terminal shows; {again}"
        )
