"""The sshd of one app, on loopback.

It offers no X11, no tun, no Unix sockets and no passwords. It sends no SSH keepalives, which would count as
traffic of the session; the relay in front of it detects a dead peer by TCP.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress

import asyncssh

from stagedoor.model.certificate import SIGN_IN_KEY_ID
from stagedoor.shells.authorized import drop_expired
from stagedoor.shells.local import tmux
from stagedoor.shells.local.process import Children, LocalAccount
from stagedoor.shells.local.session import LocalSession
from stagedoor.shells.local.settings import Order
from stagedoor.shells.local.shell_folder import ShellFolder
from stagedoor.wire.ssh.certificate import parse_certificate
from stagedoor.wire.ssh.kexinit import is_wrong_guess

LOGIN_TIMEOUT_S = 60.0
_KEXINIT = 20
"""SSH_MSG_KEXINIT (RFC 4253 §7.1)."""
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
# AES-GCM comes first, since it is the fastest here. But the client's order decides (RFC 4253 §7.1), and
# OpenSSH's begins with ChaCha20, unless its configuration has `Ciphers ^aes128-gcm@openssh.com`.
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com",
            "aes128-ctr", "aes256-ctr")  # fmt: skip


class Sshd:
    """The SSH server of one local shell. `host` is the address on which it listens.

    Raises OSError if there is not a folder for tmux.
    """

    host = "127.0.0.1"

    def __init__(self, order: Order, place: ShellFolder) -> None:
        self.shell = order.shell
        self.account = LocalAccount.of_process()
        self.login_shell = order.shell.login_shell or self.account.shell
        self.children = Children()
        self.terminals = str(place.terminals)
        self.tmux = str(tmux.make_folder(place.folder))
        self._order = order
        self._place = place
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._sessions: set[LocalSession] = set()
        self._logins: set[LocalServer] = set()
        self._idle_since = time.time()
        self.is_draining = False
        """Whether new sessions are refused."""
        self._changed = asyncio.Event()
        self._keys_text: str | None = None
        self._keys: asyncssh.SSHAuthorizedKeys | None = None

    async def listen(self, key: asyncssh.SSHKey, certificate: str) -> int:
        """Listen on a free port, and return it. The host key never leaves this process. Raises OSError."""
        self._acceptor = await asyncssh.listen(
            self.host,
            0,
            server_factory=lambda: LocalServer(self),
            server_host_keys=[(key, asyncssh.import_certificate(certificate))],
            server_version="Stagedoor",
            encryption_algs=list(_CIPHERS),
            login_timeout=LOGIN_TIMEOUT_S,
            agent_forwarding=True,  # only if the client asked for it (ssh -A), as in OpenSSH's sshd
            x11_forwarding=False,
            allow_pty=True,
            line_editor=False,
            encoding=None,
            public_key_auth=True,
            password_auth=False,
            kbdint_auth=False,
            host_based_auth=False,
            gss_host=None,
            reuse_port=False,
        )
        self.children.watch(asyncio.get_running_loop())
        return int(self._acceptor.get_port())

    async def run_until_stopped(self, life_sign: int) -> None:
        """Serve until the shell has been idle for long enough, or until SIGTERM or SIGHUP.

        After SIGTERM open sessions have the grace from the order. After SIGHUP they may continue.
        """
        loop = asyncio.get_running_loop()
        grace: asyncio.Future[float | None] = loop.create_future()

        def stop(after_s: float | None) -> None:
            if not grace.done():
                grace.set_result(after_s)

        loop.add_signal_handler(signal.SIGTERM, stop, self._order.drain_grace_s)
        loop.add_signal_handler(signal.SIGHUP, stop, None)
        # ^C in the terminal is meant for the gateway.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        idle = asyncio.create_task(self._stop_when_idle(life_sign, stop))
        after_s = await grace
        idle.cancel()
        self._place.withdraw(life_sign)
        await self._drain(after_s)

    async def _stop_when_idle(self, life_sign: int, stop: Callable[[float], None]) -> None:
        while True:
            last = max(self._idle_since, self._place.read_last_use())
            left_s = self._order.idle_stop_s - (time.time() - last)
            if self._logins:
                await self._wait_until_empty(self._logins)
            elif left_s > 0:
                await asyncio.sleep(left_s)
            else:
                try:
                    # Under the lock, so that no worker sends a login to this process while it ends.
                    with suppress(BlockingIOError), self._place.hold_lock(wait=False):
                        if self._place.read_last_use() <= last and not self._logins:
                            self._place.withdraw(life_sign)
                            stop(0.0)
                            return
                except FileNotFoundError:
                    stop(0.0)  # without the folder no worker can find this process
                    return
                await asyncio.sleep(1)

    async def _drain(self, after_s: float | None) -> None:
        """Refuse new sessions, and wait at most `after_s` seconds for the open ones to end."""
        self.is_draining = True
        assert self._acceptor is not None
        self._acceptor.close()
        if after_s:
            for session in tuple(self._sessions):
                session.show(f"stagedoor: this shell stops in {after_s:g} s")
        with suppress(TimeoutError):
            async with asyncio.timeout(after_s):
                await self._wait_until_empty(self._sessions)
        for login in tuple(self._logins):
            login.hang_up()
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._wait_until_empty(self._logins)

    async def _wait_until_empty(self, entries: Collection[object]) -> None:
        while entries:
            self._changed.clear()
            await self._changed.wait()

    def read_keys(self) -> asyncssh.SSHAuthorizedKeys | None:
        """Read the key file, and return the keys that are still valid, or None."""
        try:
            text = drop_expired(self._place.keys.read_text(), time.time())
        except OSError:
            text = ""
        if text != self._keys_text:
            # Parse it again only if it has changed.
            self._keys = asyncssh.import_authorized_keys(text) if text else None
            self._keys_text = text
        return self._keys

    def note_session(self, session: LocalSession) -> None:
        """Record a new session."""
        self._sessions.add(session)

    def forget_session(self, session: LocalSession) -> None:
        """Record the end of a session."""
        self._sessions.discard(session)
        self._changed.set()

    def note_connection(self, login: "LocalServer") -> None:
        """Record a new connection."""
        self._logins.add(login)

    def forget_connection(self, login: "LocalServer") -> None:
        """Record the end of a connection."""
        self._logins.discard(login)
        self._idle_since = time.time()
        self._changed.set()


class LocalServer(asyncssh.SSHServer):
    """One SSH connection: its authentication, its sessions and its forwarding."""

    def __init__(self, sshd: Sshd) -> None:
        self._sshd = sshd
        self._conn: asyncssh.SSHServerConnection | None = None
        self._opening: set[asyncio.Future[None]] = set()
        """The remote forwards whose listener is not open yet."""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Record the connection, and replace two functions of asyncssh for it."""
        self._conn = conn
        validate_key = conn.validate_public_key

        async def validate(name: str, key: bytes, message: bytes, signature: bytes) -> bool:
            # The key of a sign-in stays in the file until the sign-in ends. Its certificate would be valid
            # for longer.
            return not _is_of_sign_in(key) and await validate_key(name, key, message, signature)

        handlers = {**conn._packet_handlers, _KEXINIT: _process_proposal}
        conn._packet_handlers = handlers  # for this connection alone
        conn.validate_public_key = validate  # type: ignore[assignment, method-assign]  # it tells the server no key id
        self._sshd.note_connection(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Record the end of the connection."""
        self._sshd.forget_connection(self)

    def begin_auth(self, username: str) -> bool:
        """Set the keys that may log in. Return True, since every user must authenticate."""
        assert self._conn is not None
        self._conn.set_authorized_keys(self._sshd.read_keys())
        return True

    def public_key_auth_supported(self) -> bool:
        """Return True, even without any valid key, so that the client gets the usual refusal."""
        return True

    async def session_requested(self) -> LocalSession:
        """Return a session once earlier remote forwards listen, as sshd does: its command may use them."""
        while self._opening:
            await asyncio.wait(self._opening)
        if self._sshd.is_draining:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "this shell is stopping")
        return LocalSession(self._sshd)

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> bool:
        """Accept a forward to any address. A user with a shell here can open such connections anyway."""
        return not self._sshd.is_draining

    async def server_requested(
        self, listen_host: str, listen_port: int
    ) -> asyncssh.SSHListener | bool:
        """Open a listener for a remote forward, on loopback only, as GatewayPorts no in sshd_config(5)."""
        if listen_host not in _LOOPBACK_NAMES:
            return False
        assert self._conn is not None
        here = listen_host, listen_port
        opened = asyncio.get_running_loop().create_future()
        self._opening.add(opened)
        try:
            return await self._conn.forward_local_port(*here, *here)
        finally:
            self._opening.discard(opened)
            opened.set_result(None)

    def hang_up(self) -> None:
        """Disconnect the client, since the shell has stopped."""
        if self._conn:
            self._conn.disconnect(asyncssh.DISC_BY_APPLICATION, "this shell has stopped")


async def _process_proposal(
    conn: asyncssh.SSHServerConnection, kind: int, number: int, packet: asyncssh.packet.SSHPacket
) -> None:
    """Process a KEXINIT, and ignore the next packet of a client that has guessed the key exchange wrong.

    Dropbear guesses. asyncssh takes a guess for right if both sides agree on the same in the end. The SSH
    listener corrects this too.
    """
    await conn._process_kexinit(kind, number, packet)
    conn._ignore_first_kex = is_wrong_guess(conn._client_kexinit, conn._server_kexinit)


def _is_of_sign_in(key: bytes) -> bool:
    signed = parse_certificate(key)
    return signed is not None and signed.certificate.key_id.startswith(SIGN_IN_KEY_ID)
