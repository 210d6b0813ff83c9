"""Unknown keys that wait for their user to sign in.

A client offers its keys one after the other (RFC 4252 §7), and does not announce how many there are. An
unknown key should wait only once all other keys are refused. After a failure that is a partial success (RFC
4252 §5.1), OpenSSH offers all its keys again, starting after the key that got it. So the gateway answers the
first unknown key with a partial success. When that key is offered again, every other key has been refused. So
a client with a known key never waits for an unknown one.

Once the client has proved that it has the key, the answer is a partial success again, after which only
keyboard-interactive is left (RFC 4256). With BatchMode, OpenSSH does not try that, so scripts never wait.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from stagedoor.listeners.ssh.bounds import BoundedConnection
from stagedoor.listeners.ssh.credentials import ClientKey
from stagedoor.model.credential import UnknownKey
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.fair_queue import FairQueue, Full, PendingLimits
from stagedoor.model.source import Source, find_source_network
from stagedoor.signin.login.ssh_sign_ins import SshSignInService

PENDING_LIMITS = PendingLimits(of_source=5, of_site=40, of_all=200)
"""The limits of a worker, so that a flood of keys cannot fill it."""
CROWDED_OUT = (
    "too many logins wait for a sign-in, and your network has the most of them; connect again"
)
_SIGN_IN = "Sign in first: run ssh once without BatchMode, or: stagedoor login\r\n"
NEW_KEY = f"stagedoor: this key is new here. {_SIGN_IN}"
SIGN_IN_OVER = f"stagedoor: the sign-in of this key is over. {_SIGN_IN}"
"""Shown whenever a key is held: the gateway cannot know whether ssh continues or exits (BatchMode)."""
Cancel = Callable[[], None]
"""Ends the connection of a waiting login."""


class PendingLogins:
    """The waiting logins of all connections of a listener."""

    def __init__(self, limits: PendingLimits = PENDING_LIMITS) -> None:
        self._limits = limits
        self._waiting: FairQueue[Cancel] = FairQueue()

    def __len__(self) -> int:
        return len(self._waiting)

    def explain_full(self, source: str) -> str | None:
        """Return why no more logins from the network `source` may wait, or None if one may."""
        full = self._judge_entry(source)
        if not isinstance(full, Full):
            return None
        return (
            f"{full.most} connections{full.where} wait for a sign-in, which is the limit; "
            "finish one, or try again"
        )

    @contextmanager
    def take_place(self, source: str, cancel: Cancel) -> Iterator[None]:
        """Count a waiting login for the length of the block.

        If another login takes its place, `cancel` is called and must end the block.
        """
        fullest = self._judge_entry(source)
        if isinstance(fullest, str):
            newest = self._waiting.list_keys_of(fullest)[-1]
            self._waiting.remove(newest)
            newest()
        place = partial(cancel)  # a distinct key, since two logins may have the same `cancel`
        self._waiting.add(place, source)
        try:
            yield
        finally:
            self._waiting.remove(place)

    def _judge_entry(self, source: str) -> Full | str | None:
        return self._limits.judge_entry(self._waiting.count_keys(), source)


class PendingKey:
    """The key that a connection holds for its user, and the wait for the sign-in.

    `proved_key` is the key; None until the client has proved that it has the key.
    """

    def __init__(
        self, sign_ins: SshSignInService | None, pending_logins: PendingLogins, source: Source
    ) -> None:
        self._sign_ins = sign_ins
        self._pending_logins = pending_logins
        self._source = source
        self._first_unknown: bytes | None = None
        self._refused_keys: set[bytes] = set()
        """The keys whose certificate was refused."""
        self._partial = False
        self.proved_key: ClientKey | None = None

    def take_partial_success(self) -> bool:
        """Return True once after a refusal that must be sent as a partial success."""
        partial_success, self._partial = self._partial, False
        return partial_success

    def judge_wait(
        self, offered: ClientKey, denial: Denial, client: BoundedConnection
    ) -> Denial | None:
        """Return None if the key may wait for its user, else its refusal.

        Certificates never wait, because a sign-in cannot be bound to one.
        """
        if offered.credential.certificate is not None:
            self._refused_keys.add(offered.credential.key)
            return denial
        if (
            self._sign_ins is None
            or denial.reason is not Reason.CREDENTIAL_WRONG
            or not client.is_openssh  # which offers all keys again
            or not self._sign_ins.may_wait(offered.line)
        ):
            return denial
        self._partial = self._first_unknown is None  # then the client offers all its keys again
        if self._partial:
            self._first_unknown = offered.credential.key
        if self._partial or offered.credential.key != self._first_unknown:
            return denial
        full = self._pending_logins.explain_full(find_source_network(self._source.address))
        return None if full is None else Denial(Reason.CREDENTIAL_WRONG, full)

    def hold(self, offered: ClientKey, client: BoundedConnection) -> None:
        """Hold a key: its refusal becomes a partial success, after which keyboard-interactive is left."""
        self.proved_key, self._partial = offered, True
        client.send_auth_banner(
            SIGN_IN_OVER if offered.credential.key in self._refused_keys else NEW_KEY
        )

    async def wait(self, client: BoundedConnection) -> Denial | None:
        """Show where to sign in, and wait for it. Return a denial if the user does not sign in.

        Hang up if the client ends the wait.
        """
        assert self._sign_ins is not None, "a key is held only if sign-ins are enabled"
        assert self.proved_key is not None, "the caller has checked"
        client.suspend_login_timeout()
        credential, network = self.proved_key.credential, find_source_network(self._source.address)
        key = UnknownKey(
            credential.name, self.proved_key.line, credential.fingerprint, self._source
        )
        try:
            with self._pending_logins.take_place(network, partial(client.hang_up, CROWDED_OUT)):
                return await self._sign_ins.bind(key, client.send_auth_banner)
        except BaseException:
            # The client's next request ended the wait. Without a hang-up, no timer or limit would apply to
            # the client any more.
            if not client.is_closed():
                client.hang_up("the wait for a sign-in was interrupted; connect again")
            raise
