"""What a person sees of their own on the home page, from the store."""

from collections.abc import Sequence
from dataclasses import dataclass

from stagedoor.admin.asking import ask
from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity
from stagedoor.model.policy import KeyRecord
from stagedoor.model.source import host_port
from stagedoor.model.target import SSH_PORT, Target
from stagedoor.settings.form import split_address
from stagedoor.settings.settings import Settings
from stagedoor.store.database import Database
from stagedoor.store.people import keys_of
from stagedoor.store.sessions import list_sessions

LAST_SESSIONS = 10


@dataclass(frozen=True, slots=True)
class AccountSession:
    """A session of somebody's: `at` and `until` in seconds since the epoch, None while it is open."""

    target: str
    way: str
    at: float
    until: float | None


class AccountService:
    """What a person sees of their own on the home page.

    The store is asked in a thread; one that fails is a Denial.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database

    async def keys(self, identity: Identity) -> Sequence[KeyRecord] | Denial:
        """The keys by which the shells know them."""

        def load() -> Sequence[KeyRecord]:
            # From the store, not from memory: somebody who has just added one wants to see it.
            with self._database.read() as transaction:
                return keys_of(transaction, identity.name)

        return await ask(load)

    async def sessions(self, identity: Identity) -> Sequence[AccountSession] | Denial:
        """Their last sessions, the newest first."""
        records = await ask(
            list_sessions,
            self._database,
            open_only=False,
            identity=identity.name,
            limit=LAST_SESSIONS,
        )
        if isinstance(records, Denial):
            return records
        return [
            AccountSession(r.target, r.way, r.opened_at, r.closed_at) for r in reversed(records)
        ]

    def ssh_line(self, identity: Identity, target: Target) -> str:
        """The command that enters `target` by ssh: by direct login where SSH is answered; else by what
        `ssh_setup` has set up."""
        public = self._settings.ssh.public_at
        if public is None:
            return f"ssh {target.host_name}"
        name, port = public
        at = f"{target.login_name}@{name}"
        return f"ssh {at}" if port == SSH_PORT else f"ssh -p {port} {at}"

    def ssh_setup(self, identity: Identity, host: str) -> str | None:
        """The command that has to be run once before; None where ssh needs nothing. `host` is the name by
        which the person reaches this gateway."""
        ssh, tunnel = self._settings.ssh, self._settings.tunnel
        if ssh.public_at is not None:
            return None
        if self._ssh_port:
            way = f"--jump {_at(host, ssh.public_port or self._ssh_port)}"
        elif tunnel.public_url is not None:
            way = f"--gateway {tunnel.public_url}"
        else:
            secure = bool(tunnel.tls_addresses)
            first = (tunnel.tls_addresses or tunnel.addresses or (":0",))[0]
            at = _at(host, split_address(first)[1])
            way = f"--gateway {'https://' if secure else ''}{at}"
        return f"stagedoor ssh-config {way} --user {identity.name} --host-ca host_ca.pub --include"

    @property
    def _ssh_port(self) -> int:
        """Where SSH is answered; 0 for nowhere, or for a port that is not known beforehand."""
        addresses = self._settings.ssh.addresses
        return split_address(addresses[0])[1] if addresses else 0


def _at(host: str, port: int) -> str:
    """As it is typed; a port that the system chooses is known to nobody beforehand."""
    return host_port(host, port) if port else f"{host}:PORT"
