"""A user's own keys, sessions and ssh commands, for the WebShell's home page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stagedoor.admin.blocking import call_blocking, call_in_transaction, run_in_thread
from stagedoor.admin.context import WorkerContext
from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity
from stagedoor.model.policy import KeyRecord
from stagedoor.model.source import join_host_port
from stagedoor.model.target import SSH_PORT, Target
from stagedoor.settings.form import split_address
from stagedoor.store.people import list_keys
from stagedoor.store.sessions import (
    SessionRecord,
    list_sessions,
    list_users_inside,
    read_last_used,
)

LAST_SESSIONS = 5


@dataclass(frozen=True, slots=True)
class AppSessions:
    """A user's last sessions and the open sessions of all users, by the host names of their targets.

    `used_at` is when the user last opened a session there, in seconds since the epoch. `inside` has the users
    with an open session there, by any access method. Show only those of targets that the user may enter.
    """

    used_at: Mapping[str, float]
    inside: Mapping[str, Sequence[str]]


class AccountService:
    """A user's data for the home page. It uses the store in a thread; a failure is a Denial."""

    def __init__(self, context: WorkerContext) -> None:
        self._settings = context.settings
        self._database = context.database

    async def list_keys(self, identity: Identity) -> Sequence[KeyRecord] | Denial:
        """Return the user's registered SSH keys."""
        # From the store, not from memory, so that a key that was just added appears.
        return await call_in_transaction(self._database.read, list_keys, identity.name)

    async def list_sessions(self, identity: Identity) -> Sequence[SessionRecord] | Denial:
        """Return the user's last sessions, the newest first."""
        name, limit = identity.name, LAST_SESSIONS
        return await call_blocking(
            list_sessions, self._database, open_only=False, identity=name, limit=limit
        )

    @run_in_thread
    def find_app_sessions(self, identity: Identity) -> AppSessions:
        """Return when the user last used each target, and the users who are inside now."""
        return AppSessions(
            read_last_used(self._database, identity.name), list_users_inside(self._database)
        )

    def render_ssh_command(self, target: Target) -> str:
        """Return the ssh command that enters `target`.

        It uses direct login if SSH has a public address, else the configuration from `choose_ssh_setup`.
        """
        public = self._settings.ssh.public_at
        if public is None:
            return f"ssh {target.host_name}"
        name, port = public
        login = f"{target.login_name}@{name}"
        return f"ssh {login}" if port == SSH_PORT else f"ssh -p {port} {login}"

    def choose_ssh_setup(self, identity: Identity, host: str) -> str | None:
        """Return the command to run once before using ssh, or None if ssh needs no setup.

        `host` is the name by which the user reaches this gateway.
        """
        ssh, tunnel = self._settings.ssh, self._settings.tunnel
        if ssh.public_at is not None:
            return None
        if self._ssh_port:
            option = f"--jump {_address(host, ssh.public_port or self._ssh_port)}"
        elif tunnel.public_url is not None:
            option = f"--gateway {tunnel.public_url}"
        else:
            has_tls = bool(tunnel.tls_addresses)
            first = (tunnel.tls_addresses or tunnel.addresses or (":0",))[0]
            address = _address(host, split_address(first)[1])
            option = f"--gateway {'https://' if has_tls else ''}{address}"
        return (
            f"stagedoor ssh-config {option} --user {identity.name} --host-ca host_ca.pub --include"
        )

    @property
    def _ssh_port(self) -> int:
        """The port of the SSH listener; 0 if there is none, or if the system chooses the port."""
        addresses = self._settings.ssh.addresses
        return split_address(addresses[0])[1] if addresses else 0


def _address(host: str, port: int) -> str:
    """Return HOST:PORT as a user types it. A port that the system chooses (0) is shown as PORT."""
    return join_host_port(host, port) if port else f"{host}:PORT"
