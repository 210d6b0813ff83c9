"""Sign-ins of users who log in by SSH: binding their keys, certifying them, and logging out.

The connection of an unknown key waits until its user signs in, and the key gets a sign-in.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from stagedoor.admin.blocking import call_blocking
from stagedoor.admin.certificates.revocation import RefusedKeys
from stagedoor.admin.certificates.user_signer import CertificateError, UserCertificates
from stagedoor.admin.context import WorkerContext
from stagedoor.model import pending_login
from stagedoor.model.credential import UnknownKey
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import NotFoundError, RefusedError, StoreError
from stagedoor.model.identity import Identity
from stagedoor.model.letters import choose_letters, hash_letters, show_letters
from stagedoor.model.pending_login import LOGIN_PENDING_S, PendingLogin
from stagedoor.model.source import find_source_network
from stagedoor.model.target import Target
from stagedoor.signin.login.approval import make_certificate_denial, open_approved, submit
from stagedoor.signin.site import SSO_PATH
from stagedoor.signin.source_limit import START_RATE, SourceLimit
from stagedoor.store.sign_in import passes, pending_logins
from stagedoor.wire.oneline import fold
from stagedoor.wire.target import may_name_app, parse_login

LOGGED_OUT = "you logged out by ssh; sign in again to come back"
_NO_SIGN_IN = Denial(
    Reason.BAD_REQUEST,
    "you logged in with a key or password that an administrator gave you, not with a sign-in",
)
POLL_INTERVAL_S = 0.1
"""The interval of the one query for all logins that wait: so short that users notice no delay."""
MAX_NAME_CHARS = 40


class KeyBinding:
    """Binds unknown keys to sign-ins. Belongs to one event loop, and uses the store in a thread."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        complaint = "too many unknown keys come from your {}"
        self._beginnings = SourceLimit(START_RATE, complaint, context.now)
        self._waiting: dict[str, asyncio.Future[PendingLogin | Denial]] = {}
        self._watching: asyncio.Task[None] | None = None

    @property
    def is_possible(self) -> bool:
        """Return whether there is an identity provider, and connections may wait (`ssh.hold_s`)."""
        return bool(self._context.settings.sso) and self._context.settings.ssh.hold_s > 0

    async def bind(
        self, key: UnknownKey, wanted_user: str | None, show: Callable[[str], None]
    ) -> Denial | None:
        """Bind a key as `SshSignInService.bind` does. Only `wanted_user` may approve it."""
        hold_s = min(self._context.settings.ssh.hold_s, LOGIN_PENDING_S)
        pending = await self._begin(key, wanted_user)
        if isinstance(pending, Denial):
            return pending
        login, letters = pending
        url = (
            f"{self._context.settings.sso[0].redirect_uri.removesuffix(SSO_PATH)}/login/{login.id}"
        )
        instructions = (
            f"stagedoor: to sign in, open\r\n  {url}\r\n"
            f"and type the letters {letters} there, within {hold_s / 60:.3g} min.\r\n"
        )
        approved = await self._wait_for_answer(login, hold_s, partial(show, instructions))
        if isinstance(approved, Denial):
            return approved
        opened = await call_blocking(self._open, approved)
        if isinstance(opened, Denial):
            return opened
        self._beginnings.give_back(key.source)
        return None

    async def _begin(
        self, key: UnknownKey, wanted_user: str | None
    ) -> tuple[PendingLogin, str] | Denial:
        """Store a login that waits for approval; return it with the letters to show."""
        if (denial := self._beginnings.take(key.source)) is not None:
            return denial
        network, now = find_source_network(key.source.address), self._context.now()
        id_, letters = secrets.token_urlsafe(16), choose_letters(secrets.token_bytes(64))
        login = PendingLogin(
            id_,
            None,
            key.public_key,
            key.fingerprint,
            hash_letters(id_, letters),
            network,
            fold(f"ssh {key.login_name[:MAX_NAME_CHARS]}@"),
            None,
            now,
            now + LOGIN_PENDING_S,
            wanted_user,
        )
        denial = await submit(self._context, login)
        return denial or (login, show_letters(letters))

    async def _wait_for_answer(
        self, login: PendingLogin, hold_s: float, show: Callable[[], None]
    ) -> PendingLogin | Denial:
        """Show the instructions and wait up to `hold_s` seconds. Return the approved login, or a denial."""
        answer: asyncio.Future[PendingLogin | Denial] = asyncio.get_running_loop().create_future()
        self._waiting[login.id] = answer
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        approved: PendingLogin | Denial | None = None
        try:
            show()
            with suppress(TimeoutError):
                async with asyncio.timeout(hold_s):
                    approved = await answer
        finally:
            del self._waiting[login.id]
            if approved is None:
                # The connection no longer waits, perhaps because ssh was closed: its page says so.
                asyncio.get_running_loop().run_in_executor(None, self._give_up, login)
        return approved or Denial(
            Reason.CREDENTIAL_WRONG,
            f"no user signed in for this key within {hold_s:g} s (if you saw no address to open, ssh -q or "
            "LogLevel ERROR hid it); connect again",
        )

    async def _watch(self) -> None:
        """Read the answers as long as a connection waits. A store that fails is tried again."""
        while self._waiting:
            await asyncio.sleep(POLL_INTERVAL_S)
            waiting = tuple(self._waiting.items())  # `_waiting` may change during the query
            ids = [id_ for id_, _ in waiting]
            answered = await call_blocking(
                pending_logins.find_answered, self._context.database, ids
            )
            if isinstance(answered, Denial):
                continue
            for id_, answer in waiting:
                if id_ in answered and not answer.done():
                    answer.set_result(self._find_outcome(answered[id_]))

    def _find_outcome(self, login: PendingLogin | None) -> PendingLogin | Denial:
        """Return an answered login if it was approved, else why not. None is a login that was deleted."""
        if login is None:
            return Denial(
                Reason.OVERLOADED,
                "the login was dropped, since more logins from your network wait than from any other; "
                "connect again",
            )
        # The client has no port, so no code is needed: an approved login is due.
        if pending_login.is_due(login, self._context.now()):
            return login
        return Denial(
            Reason.CREDENTIAL_WRONG,
            "the login was refused in the browser, or its letters were wrong too often",
        )

    def _open(self, login: PendingLogin) -> None:
        """Bind the key. Runs in a thread. Raises RefusedError, NotFoundError, StoreError."""
        open_approved(self._context, login, "this login has just changed; connect again")

    def _give_up(self, login: PendingLogin) -> None:
        """Deny a login that waits or was approved too late, so that its page says so. Runs in a thread."""
        is_denied = False
        with suppress(StoreError, RefusedError):  # it expires anyway
            while not is_denied:  # it may be approved at this moment
                current = pending_logins.find(self._context.database, login.id)
                if current is None:
                    return
                denied = pending_login.deny(current, self._context.now())
                with self._context.database.write() as transaction:
                    is_denied = pending_logins.change(transaction, current, denied)


class SshSignInService:
    """The sign-ins of SSH keys: how a key gets one, and what its user may do with it.

    Belongs to one event loop.
    """

    def __init__(
        self,
        context: WorkerContext,
        apps: Callable[[], Iterable[Target]],
        certificates: UserCertificates,
        refused: RefusedKeys,
    ) -> None:
        self._context = context
        self._apps = apps
        self._certificates = certificates
        self._refused = refused
        self._binding = KeyBinding(context)

    def may_wait(self, public_key: str) -> bool:
        """Return whether a connection with this unknown key may wait until its user signs in.

        A revoked key may not.
        """
        return self._binding.is_possible and self._refused(public_key) is None

    async def bind(self, key: UnknownKey, show: Callable[[str], None]) -> Denial | None:
        """Wait until a user has signed in and approved this key, then bind it. Return None if it is bound.

        `show` gets the lines that explain to the user what to do.
        """
        return await self._binding.bind(key, self._wanted_user(key.login_name), show)

    def _wanted_user(self, name: str) -> str | None:
        """Return the only user who may approve a login as `name`, or None if any user may.

        A name that an app and a user share means the app. Otherwise that user would keep the new keys of all
        other users out of the app.
        """
        if may_name_app(name, self._apps()):
            return None
        is_user = name in self._context.policy().all_users or parse_login(name) is None
        return name if is_user else None

    async def issue_certificate(self, identity: Identity, public_key: str) -> str | Denial:
        """Return an OpenSSH user certificate for the key of the identity's sign-in, one line."""
        sign_in = identity.sign_in
        if sign_in is None:
            return _NO_SIGN_IN
        # The connection may be older than a change that ended its sign-in.
        ends_at = self._context.policy().check_credential(identity, self._context.now())
        if isinstance(ends_at, Denial):
            return ends_at
        assert ends_at is not None, "a sign-in ends"
        try:
            return await self._certificates.sign(identity.name, sign_in.number, public_key, ends_at)
        except CertificateError as error:
            return make_certificate_denial(error, Denial(Reason.BAD_REQUEST, str(error)))

    async def log_out(self, identity: Identity) -> Denial | None:
        """End the identity's sign-in, and all that it opened."""
        sign_in = identity.sign_in
        if sign_in is None:
            return _NO_SIGN_IN

        def end() -> None:
            with (
                suppress(NotFoundError),
                self._context.change(identity.name, "ssh.logout", by="ssh", revokes=True) as change,
            ):
                now = self._context.now()
                passes.end_sign_in(change.transaction, sign_in.id, LOGGED_OUT, now)
                change.fields |= {"user": identity.name, "sign_in": str(sign_in.number)}

        return await call_blocking(end)

    def find_end(self, identity: Identity) -> float | None:
        """Return the end of the identity's sign-in in seconds since the epoch; None without a sign-in."""
        sign_in = identity.sign_in
        return None if sign_in is None else self._context.policy().end_of(sign_in)

    def list_groups(self, identity: Identity) -> tuple[str, ...]:
        """Return the names of the user's groups, sorted."""
        user = self._context.policy().users.get(identity.name)
        return tuple(sorted(user.groups)) if user else ()
