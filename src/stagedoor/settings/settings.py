"""All settings: the name of each, its unit, its default, and the reason for the default.

The file is TOML (see `settings.file`). `script/reference` makes its reference page from the
descriptions below.
"""

import os
from collections.abc import Iterable
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, field

from stagedoor.model.source import Network
from stagedoor.model.units import DAY_S
from stagedoor.settings.accounts import AccountSettings, StepUpSettings
from stagedoor.settings.audit import AuditSettings, RecordingSettings
from stagedoor.settings.form import Count, Seconds, Table, check_unique, report_as
from stagedoor.settings.hooks import HookSettings
from stagedoor.settings.kubernetes import ControllerSettings, KubernetesSettings
from stagedoor.settings.listeners import HealthSettings, ListenSettings, SshSettings, TunnelSettings
from stagedoor.settings.machines import MachineSettings, check_machines
from stagedoor.settings.shells import ShellSettings
from stagedoor.settings.sso import SingleSignOnSettings
from stagedoor.settings.store_location import StoreLocation, StoreServer, check_server_url
from stagedoor.settings.traces import TraceSettings
from stagedoor.settings.web import ApiSettings, WebSettings

STORE_FILE = "stagedoor.db"
"""The SQLite store, in `data_dir`."""


class WorkerSettings(Table, frozen=True):
    """The worker processes."""

    count: Annotated[
        Count,
        Meta(
            description="The number of worker processes, each with its own socket on the same port "
            "(SO_REUSEPORT). Use one for each core that the gateway may have; one worker already relays "
            "some GiB/s."
        ),
    ] = 1
    drain_timeout_s: Annotated[
        Annotated[float, Meta(ge=0, le=366 * DAY_S)],
        Meta(
            description="After SIGTERM, live sessions have this long to finish before they are closed. "
            "Give the service manager a longer stop time-out than this."
        ),
    ] = 30.0


class RelaySettings(Table, frozen=True):
    """The relay of bytes between clients and shells."""

    idle_timeout_s: Annotated[
        Seconds | None,
        Meta(
            description="A session that moved no byte for this long is closed. None: never, since an ssh "
            "left open over lunch or over a weekend is no fault, and keepalives find a dead peer anyway."
        ),
    ] = None


class KeySettings(Table, frozen=True):
    """The gateway's own keys, in files of mode 0600.

    Those that sign are ed25519, OpenSSH or PKCS #8 private keys. A file that root owns may be
    readable by a group, as a Kubernetes Secret in a container is.
    """

    user_ca_file: Annotated[
        Path | None,
        Meta(
            description="Signs user certificates, which shells accept. None: `keys/user_ca` in `data_dir`, "
            "made at the first start. With `user_ca_agent`, its public half (`.pub`)."
        ),
    ] = None
    user_ca_agent: Annotated[
        Path | None,
        Meta(
            description="The socket of an ssh-agent that holds the user CA's private key, for example in a "
            "PKCS #11 token (`ssh-add -s`). It must sign without asking for confirmation. None: "
            "`user_ca_file` is the key."
        ),
    ] = None
    principal_prefix: Annotated[
        Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.-]{1,31}:\Z")] | None,
        Meta(
            description="A prefix of the user's name in each certificate that the gateway signs with the "
            "user CA. It ends with a colon: with `sd:`, the principal is `sd:alice`. No account has such a "
            "name, so a server that trusts the CA accepts only the principals in its "
            "`AuthorizedPrincipalsFile`. Gateways that share a store, and the controller, need the same "
            "prefix. None: the name alone, which a server that trusts the CA accepts for the account of "
            "that name."
        ),
    ] = None
    host_ca_file: Annotated[
        Path | None,
        Meta(
            description="Signs the shells' host keys, so that clients accept them without a question. None: "
            "`keys/host_ca` in `data_dir`, made at the first start. A name that ends in `.pub` is the "
            "public half only: then the gateway signs no host keys, SSH needs `ssh.host_certificate_file`, "
            "and there are no local shells."
        ),
    ] = None
    sign_in_key_file: Annotated[
        Path | None,
        Meta(
            description="Encrypts the cookie of a browser whose user is signing in at an identity provider: "
            "32 random bytes. Gateways that share a store and a name share it. None: `keys/sign_in_key` in "
            "`data_dir`, made when it is needed."
        ),
    ] = None
    audit_key_file: Annotated[
        Path | None,
        Meta(
            description="Signs the audit's checkpoints. Gateways that share a store may share it. None: "
            "`keys/audit_key` in `data_dir`, made when it is needed."
        ),
    ] = None

    def __post_init__(self) -> None:
        is_public = self.user_ca_file is not None and self.user_ca_file.suffix == ".pub"
        if self.user_ca_agent is not None and not is_public:
            raise ValueError(
                "keys.user_ca_agent signs: name the public half (.pub) in keys.user_ca_file, and keep the "
                "private key off this machine"
            )


class StoreSettings(Table, frozen=True):
    """The store of users, keys, tokens, grants, sessions and the audit."""

    url: Annotated[
        str | None,
        Meta(
            description="A PostgreSQL database that several gateways share: "
            "`postgresql://ROLE@HOST/DATABASE`, with any parameters of libpq after a `?`, but no password. "
            "The server's certificate is verified (`sslmode=verify-full`) unless the URL says otherwise or "
            "the server is on this machine. None: SQLite, the file `stagedoor.db` in `data_dir`, for one "
            "machine."
        ),
    ] = None
    password_file: Annotated[
        Path | None,
        Meta(
            description="A file with one line, the role's password, read at each connection. A "
            "world-readable file is refused. None: libpq looks for a password (`PGPASSFILE`, `PGPASSWORD`, "
            "`~/.pgpass`)."
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.url is not None:
            with report_as("store.url"):
                check_server_url(self.url)
        elif self.password_file is not None:
            raise ValueError("store.password_file needs store.url")


class LogSettings(Table, frozen=True):
    """The log: one line for each session, on stderr."""

    format: Annotated[
        Literal["auto", "json", "console"],
        Meta(description="`auto`: console on a terminal, JSON otherwise."),
    ] = "auto"
    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The lowest level that is logged."),
    ] = "info"


def find_data_dir() -> Path:
    """Return the default `data_dir`.

    It is `/var/lib/stagedoor` for root, `$XDG_DATA_HOME/stagedoor` (XDG base directories) for others.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/stagedoor")
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    return Path(base) / "stagedoor"


class Settings(Table, frozen=True):
    """The whole settings file."""

    data_dir: Annotated[
        Path,
        Meta(
            description="The folder for the store (SQLite, unless `store.url` names a server), the keys and "
            "the local shells, mode 0700. "
            "The default is `/var/lib/stagedoor` for root, `~/.local/share/stagedoor` for others."
        ),
    ] = field(default_factory=find_data_dir)
    store: StoreSettings = StoreSettings()
    listen: ListenSettings = ListenSettings()
    tunnel: TunnelSettings = TunnelSettings()
    ssh: SshSettings = SshSettings()
    web: WebSettings = WebSettings()
    sso: Annotated[
        tuple[SingleSignOnSettings, ...],
        Meta(
            description="Identity providers, one `[[sso]]` each. None: passwords, tokens and keys only."
        ),
    ] = ()
    machines: Annotated[
        tuple[MachineSettings, ...],
        Meta(
            description="The machines that log in by a token of their CI or cluster, one `[[machines]]` for "
            "each rule. None: machines use keys and `stagedoor token create`."
        ),
    ] = ()
    accounts: AccountSettings = AccountSettings()
    step_up: StepUpSettings = StepUpSettings()
    api: ApiSettings = ApiSettings()
    recording: RecordingSettings = RecordingSettings()
    audit: AuditSettings = AuditSettings()
    hooks: Annotated[
        tuple[HookSettings, ...],
        Meta(
            description="Where messages about access requests are sent, one `[[hooks]]` each. None: "
            "approvers see requests on the page and by ssh."
        ),
    ] = ()
    workers: WorkerSettings = WorkerSettings()
    relay: RelaySettings = RelaySettings()
    shells: ShellSettings = ShellSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    controller: ControllerSettings = ControllerSettings()
    keys: KeySettings = KeySettings()
    health: HealthSettings = HealthSettings()
    log: LogSettings = LogSettings()
    traces: TraceSettings = TraceSettings()

    def __post_init__(self) -> None:
        check_unique((provider.name for provider in self.sso), "[[sso]]")
        check_unique((hook.name for hook in self.hooks), "[[hooks]]")
        clients = frozenset((provider.issuer, provider.client_id) for provider in self.sso)
        check_machines(self.machines, clients)
        if self.accounts.password_groups is not None and not self.sso:
            raise ValueError(
                "accounts.password_groups needs an [[sso]] table: without one, others could not sign in"
            )
        web = self.web.addresses or self.web.tls_addresses
        if not (self.tunnel.addresses or self.tunnel.tls_addresses or self.ssh.addresses or web):
            raise ValueError("nothing is listened on: name an address in tunnel.addresses")
        if self.web.tls_addresses and not (self.tunnel.certificate_file and self.tunnel.key_file):
            raise ValueError("web.tls_addresses needs tunnel.certificate_file and tunnel.key_file")
        if self.host_ca_public_only:
            if self.shells.local:
                raise ValueError(
                    "shells.local needs the host CA's private key; keys.host_ca_file has the public half"
                )
            if self.ssh.addresses and self.ssh.host_certificate_file is None:
                raise ValueError(
                    "ssh.host_certificate_file is needed, since keys.host_ca_file is the public half of the "
                    "host CA; make it with: stagedoor ca sign-host"
                )

    @property
    def host_ca_public_only(self) -> bool:
        """Return whether the gateway has only the public half of the host CA."""
        return self.host_ca_file.suffix == ".pub"

    @property
    def store_location(self) -> StoreLocation:
        """Return where the store is."""
        if self.store.url is None:
            return self.data_dir / STORE_FILE
        return StoreServer(self.store.url, self.store.password_file)

    @property
    def recordings_folder(self) -> Path:
        """Return the folder of the recordings."""
        return self.data_dir / "recordings"

    @property
    def user_ca_file(self) -> Path:
        """Return the file of the user CA."""
        return self.keys.user_ca_file or self.data_dir / "keys" / "user_ca"

    @property
    def host_ca_file(self) -> Path:
        """Return the file of the host CA."""
        return self.keys.host_ca_file or self.data_dir / "keys" / "host_ca"

    @property
    def sign_in_key_file(self) -> Path:
        """Return the file of the key for cookies of sign-ins at identity providers."""
        return self.keys.sign_in_key_file or self.data_dir / "keys" / "sign_in_key"

    @property
    def audit_key_file(self) -> Path:
        """Return the file of the key that signs the audit's checkpoints."""
        return self.keys.audit_key_file or self.data_dir / "keys" / "audit_key"

    @property
    def ssh_host_key_file(self) -> Path:
        """Return the file of the SSH listener's host key."""
        return self.ssh.host_key_file or self.data_dir / "keys" / "ssh_host_key"


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Parse networks from texts that `check_networks` has accepted."""
    return tuple(ip_network(text) for text in texts)
