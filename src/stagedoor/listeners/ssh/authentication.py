"""The authentication of one SSH connection: keys, passwords, tokens, and sign-ins (RFC 4252)."""

from collections.abc import Awaitable
from dataclasses import replace
from typing import TYPE_CHECKING

from stagedoor.listeners.ssh.context import ListenerContext
from stagedoor.listeners.ssh.credentials import (
    VerifiedCredential,
    is_signed_by_owner,
    is_user_verified,
    read_offered_key,
)
from stagedoor.listeners.ssh.options import MAX_AUTH_TRIES
from stagedoor.listeners.ssh.pending_keys import PendingKey
from stagedoor.model.credential import Credential, PasswordCredential, TokenCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.source import Source
from stagedoor.wire.target import parse_login

if TYPE_CHECKING:
    from stagedoor.listeners.ssh.connection import ClientConnection

SHOWN_REASONS = 4
_WHY_NOT_FOR_APPS = (
    "if the user name is an app's, a password does not say who you are; use an SSH key or a token"
)


class SshAuthentication:
    """The authentication of one connection."""

    def __init__(
        self, context: ListenerContext, source: Source, client: "ClientConnection"
    ) -> None:
        self._context = context
        self._source = source
        self._client = client
        self._verified: VerifiedCredential | None = None
        """The credential that was verified last."""
        self._tries = 0
        self._explained_password = False
        self._pending_key = PendingKey(context.page.sign_ins, context.pending_logins, source)
        self._key_refusals: list[str] = []
        """The reason for each refused key. They are recorded together if none is accepted."""

    @property
    def has_only_sign_in_left(self) -> bool:
        """Return whether only the user's sign-in is left to try, by keyboard-interactive."""
        return self._pending_key.proved_key is not None

    async def check_key(self, name: str, blob: bytes, message: bytes, signature: bytes) -> bool:
        """Return whether a key may be used. `message` is empty for a query without proof (RFC 4252 §7)."""
        return await self._refuse_on_fault(self._check_key(name, blob, message, signature))

    async def check_password(self, name: str, password: str) -> bool:
        """Return whether a password, or a token in its place, logs the user in."""
        return await self._refuse_on_fault(self._check_password(name, password))

    async def sign_in(self, name: str) -> bool:
        """Wait for the user's sign-in. Return whether it logs in the user of the request, `name`."""
        return await self._refuse_on_fault(self._sign_in(name))

    async def _refuse_on_fault(self, check: Awaitable[bool]) -> bool:
        """Refuse, and log the fault, if a check raises: asyncssh would hang up without a log line."""
        try:
            return await check
        except Exception as error:
            self._context.report_fault(error)
            return False

    def take_partial_success(self) -> bool:
        """Return True once after a refusal that must be sent as a partial success."""
        return self._pending_key.take_partial_success()

    def count_failed_try(self) -> bool:
        """Count a failed try, and return whether the limit is reached."""
        self._tries += 1
        # Clients try `none` first, to get the list of methods (RFC 4252 §5.2).
        return self._tries >= MAX_AUTH_TRIES + 1

    def take_verified_credential(self) -> VerifiedCredential:
        """Return the credential that has logged the client in."""
        assert self._verified is not None, "asyncssh accepts only credentials that we have verified"
        self._key_refusals.clear()
        return self._verified

    def record_refused_keys(self) -> None:
        """Record the refused keys of a connection that is closed, unless the client had logged in."""
        if self._key_refusals:
            shown, more = (
                self._key_refusals[:SHOWN_REASONS],
                len(self._key_refusals) - SHOWN_REASONS,
            )
            text = "; ".join(shown) + (f"; and {more} more" if more > 0 else "")
            self._context.record_denial(Denial(Reason.CREDENTIAL_WRONG, text), self._source)

    async def _check_key(self, name: str, blob: bytes, message: bytes, signature: bytes) -> bool:
        offered = read_offered_key(name, blob)
        if offered is None:
            return self._note_refused_key(
                "the key or certificate is damaged, or of a type that is not accepted"
            )
        verdict = await self._context.flow.authenticate(offered.credential, self._source)
        if isinstance(verdict, Denial):
            refusal = self._pending_key.judge_wait(offered, verdict, self._client)
            if isinstance(refusal, Denial):
                self._hang_up_if_down(refusal)
                return self._note_refused_key(refusal.message)
        if not message:
            return True
        if not is_signed_by_owner(offered, message, signature):
            return self._note_refused_key(
                f"the signature of {offered.credential.fingerprint} is wrong, or its key was not touched"
            )
        if isinstance(verdict, Denial):
            self._pending_key.hold(offered, self._client)
            return False
        if is_user_verified(signature):
            verdict = self._context.flow.mark_user_verified(verdict)
        self._verified = VerifiedCredential(verdict, name, offered.credential, offered)
        return True

    async def _sign_in(self, name: str) -> bool:
        proved = self._pending_key.proved_key
        if proved is None or name != proved.credential.name:
            return False
        self._context.end_startup(self._client)  # the wait has limits of its own
        denial = await self._pending_key.wait(self._client)
        verdict = denial or await self._context.flow.authenticate(proved.credential, self._source)
        if isinstance(verdict, Denial):
            self._client.hang_up(verdict.line)
            return self._note_refused_key(verdict.message)
        self._verified = VerifiedCredential(verdict, name, proved.credential, proved)
        return True

    async def _check_password(self, name: str, password: str) -> bool:
        """Check a password, or a token in its place. A token alone identifies its user."""
        authenticate = self._context.flow.authenticate
        credential: Credential = PasswordCredential(name, password)
        verdict = await authenticate(credential, self._source)
        is_login = parse_login(name) is not None
        if isinstance(verdict, Denial) and is_login:
            credential = TokenCredential(password)
            by_token = await authenticate(credential, self._source)
            verdict = verdict if isinstance(by_token, Denial) else by_token
        if not isinstance(verdict, Denial):
            self._verified = VerifiedCredential(verdict, name, credential)
            return True
        self._hang_up_if_down(verdict)
        if verdict.reason is Reason.CREDENTIAL_WRONG and is_login:
            verdict = replace(verdict, message=f"{verdict.message}; {_WHY_NOT_FOR_APPS}")
            if not self._explained_password:
                self._explained_password = True
                self._client.send_auth_banner(
                    f"stagedoor: wrong user name, password or token; {_WHY_NOT_FOR_APPS}\n"
                )
        self._context.record_denial(verdict, self._source)
        return False

    def _hang_up_if_down(self, denial: Denial) -> None:
        """Hang up if no credential can succeed now; otherwise ssh would print "Permission denied"."""
        if denial.reason in (Reason.AUDIT_UNAVAILABLE, Reason.UPSTREAM_TIMEOUT):
            self._client.hang_up(denial.line)

    def _note_refused_key(self, why: str) -> bool:
        if why not in self._key_refusals:
            self._key_refusals.append(why)
        return False
