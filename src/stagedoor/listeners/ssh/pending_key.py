"""The unknown key of one connection that waits for its user to sign in."""

from functools import partial

from stagedoor.listeners.ssh.connection import Connection
from stagedoor.listeners.ssh.credentials import ClientKey
from stagedoor.listeners.ssh.hold import CROWDED_OUT, Answer, PendingLogins, UnknownKeys
from stagedoor.listeners.ssh.login import SshSignIns
from stagedoor.model.credential import UnknownKey
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.source import Source, source_network

_SIGN_IN = "Sign in first: run ssh once without BatchMode, or: stagedoor login\r\n"
NEW_KEY = f"stagedoor: this key is new here. {_SIGN_IN}"
OVER = f"stagedoor: the sign-in of this key is over. {_SIGN_IN}"
"""Shown whenever a key is held: the gateway cannot know whether ssh will go on or end (BatchMode)."""


class PendingKey:
    """The key of a connection that is held, and its wait.

    `shown` is the key, or None until the client has proved that it holds it.
    """

    def __init__(self, sign_ins: SshSignIns | None, holds: PendingLogins, source: Source) -> None:
        self._sign_ins = sign_ins
        self._holds = holds
        self._source = source
        self._unknown_keys = UnknownKeys()
        self._ended: set[bytes] = set()
        """The keys whose certificate was refused."""
        self._partial = False
        self.shown: ClientKey | None = None

    @property
    def asks_person(self) -> bool:
        """Return whether only the user's sign-in is left."""
        return self.shown is not None

    def take_partial_success(self) -> bool:
        """Return True once after a refusal that must be sent as a partial success."""
        partial_success, self._partial = self._partial, False
        return partial_success

    def may_wait(self, shown: ClientKey, denial: Denial, connection: Connection) -> Denial | None:
        """Return None if the key may wait for its user, or else its refusal."""
        if shown.credential.certificate is not None:
            self._ended.add(shown.credential.key)
            return denial
        if (
            self._sign_ins is None
            or denial.reason is not Reason.CREDENTIAL_WRONG
            or not connection.offers_all_keys_again
            or not self._sign_ins.holds(shown.line)
        ):
            return denial
        answer = self._unknown_keys.answer(shown.credential.key)
        self._partial = answer is Answer.BEGIN_AGAIN
        if answer is not Answer.HOLD:
            return denial
        full = self._holds.why_full(source_network(self._source.address))
        return None if full is None else Denial(Reason.CREDENTIAL_WRONG, full)

    def hold(self, shown: ClientKey, connection: Connection) -> None:
        """Hold a key: its refusal becomes a partial success, after which keyboard-interactive is left."""
        self.shown, self._partial = shown, True
        connection.send_auth_banner(OVER if shown.credential.key in self._ended else NEW_KEY)

    async def wait(self, connection: Connection) -> Denial | None:
        """Show where to sign in, and wait until the user has. Return a denial if they have not.

        Hang up if the client breaks off the wait.
        """
        assert self._sign_ins is not None, "nothing is held without"
        assert self.shown is not None, "the caller has looked"
        connection.wait_for_person()
        credential, network = self.shown.credential, source_network(self._source.address)
        key = UnknownKey(credential.name, self.shown.line, credential.fingerprint, self._source)
        try:
            with self._holds.take_place(network, partial(connection.hang_up, CROWDED_OUT)):
                return await self._sign_ins.bind(key, connection.send_auth_banner)
        except BaseException:
            # The client's next request has ended the wait. From here on neither a timer nor a count would
            # bound the connection.
            if not connection.is_closed():
                connection.hang_up("the wait for a sign-in was broken off; connect again")
            raise
