"""The settings of all listeners but the web's: their networks and addresses."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from stagedoor.model.units import DAY_S, HOUR_S
from stagedoor.settings.form import (
    Port,
    Table,
    check_addresses,
    check_networks,
    check_url,
    split_address,
)

PRIVATE_NETWORKS = (
    "127.0.0.0/8",
    "::1/128",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
    "fe80::/10",
)
"""Loopback, RFC 1918, RFC 4193 and link-local: the networks that the internet cannot reach."""


class ListenSettings(Table, frozen=True):
    """The source networks that may connect at all, by any access method."""

    networks: Annotated[
        tuple[str, ...],
        Meta(
            description="Only these source networks (CIDR) are answered; others get 403, and over TLS no "
            "handshake. The default is loopback and private ranges, so that a gateway which is bound to a "
            "public address by mistake refuses the internet."
        ),
    ] = PRIVATE_NETWORKS
    proxy_protocol_from: Annotated[
        tuple[str, ...],
        Meta(
            description="Connections from these networks (your load balancer) must begin with a PROXY "
            "protocol header (v1 or v2), whose address is taken as the source; to the WebShell, a proxy in "
            "`web.forwarded_from` sends none. Empty: a PROXY line is refused, since any client could send "
            "one."
        ),
    ] = ()

    def __post_init__(self) -> None:
        for name in ("networks", "proxy_protocol_from"):
            check_networks(getattr(self, name), f"listen.{name}")


class TunnelSettings(Table, frozen=True):
    """The HTTP CONNECT listener."""

    addresses: Annotated[
        tuple[str, ...],
        Meta(
            description="The addresses for plain HTTP CONNECT: `HOST:PORT`, `[IPV6]:PORT`, or `:PORT` for "
            "every interface. Port 0 takes a free port. The default is loopback: listening on a network "
            "should be a decision."
        ),
    ] = ("127.0.0.1:8022",)
    tls_addresses: Annotated[
        tuple[str, ...],
        Meta(
            description="The addresses for CONNECT over TLS. Needs `certificate_file` and `key_file`."
        ),
    ] = ()
    public_url: Annotated[
        str | None,
        Meta(
            description="The URL at which people reach CONNECT, as `https://gw.example` or "
            "`http://gw.example:8022`. `stagedoor ssh-config` on this machine writes it, unless an option "
            "names another or `ssh.addresses` and `ssh.host_names` are set: then it writes the jump host. "
            "None: not known."
        ),
    ] = None
    resume_s: Annotated[
        Annotated[float, Meta(ge=0, le=7 * DAY_S)],
        Meta(
            description="How long the session of `stagedoor tunnel` waits for its client after a lost "
            "connection: a closed lid, a new network, a restarted worker. It stays in `session list`, and "
            "ends when its grant does. Other clients' sessions end with their connection. 0: these do too."
        ),
    ] = 8 * HOUR_S
    certificate_file: Annotated[
        Path | None,
        Meta(description="PEM file with the gateway's certificate and its chain. Read at SIGHUP."),
    ] = None
    key_file: Annotated[
        Path | None,
        Meta(
            description="PEM file with the certificate's private key, without a passphrase. A "
            "world-readable file is refused."
        ),
    ] = None

    def __post_init__(self) -> None:
        check_addresses(self.addresses, "tunnel.addresses")
        check_addresses(self.tls_addresses, "tunnel.tls_addresses")
        check_url(self.public_url, "tunnel.public_url")
        if self.tls_addresses and not (self.certificate_file and self.key_file):
            raise ValueError(
                "tunnel.tls_addresses needs tunnel.certificate_file and tunnel.key_file"
            )


class SshSettings(Table, frozen=True):
    """The SSH listener: the jump host, and direct login."""

    addresses: Annotated[
        tuple[str, ...],
        Meta(
            description="The addresses for SSH, in the form of `tunnel.addresses`. Empty: none. A second "
            "access method should be a decision, and port 22 usually belongs to the machine's own sshd."
        ),
    ] = ()
    host_names: Annotated[
        tuple[str, ...],
        Meta(
            description="The names and addresses by which people reach this listener. All are in the host "
            "certificate, and the first is in the commands that the gateway prints. Empty: this machine's "
            "name and the addresses that are listened on."
        ),
    ] = ()
    public_port: Annotated[
        Port | None,
        Meta(
            description="The port by which people reach this listener, for the commands that the gateway "
            "prints: that of a load balancer or a Service, if it differs. None: the port in `addresses`."
        ),
    ] = None
    host_key_file: Annotated[
        Path | None,
        Meta(
            description="The host key (ed25519, OpenSSH private key file, mode 0600). None: "
            "`keys/ssh_host_key` in `data_dir`, made at the first start. Its certificate is signed "
            "by the host CA, for the names above."
        ),
    ] = None
    host_certificate_file: Annotated[
        Path | None,
        Meta(
            description="The host key's certificate (made by `stagedoor ca sign-host`), if the gateway does "
            "not have the host CA's private key; read again each day. None: the gateway signs one."
        ),
    ] = None
    trusted_user_ca_files: Annotated[
        tuple[Path, ...],
        Meta(
            description="The public keys of further CAs, besides the user CA, whose user certificates are "
            "accepted. Their principals are users' names."
        ),
    ] = ()
    revoked_keys_file: Annotated[
        Path | None,
        Meta(
            description="Keys and certificates that are refused: a list made by `ssh-keygen -k`, or public "
            "keys, one per line. It is read again whenever it changes, and the live sessions of revoked keys "
            "are closed. While it cannot be read, all keys are refused. None: keys are revoked only by "
            "`stagedoor key remove`."
        ),
    ] = None
    passwords: Annotated[
        bool,
        Meta(
            description="Whether clients may log in by password, or by a token in its place: by the method "
            "`password`, and by `keyboard-interactive` for clients that know no other."
        ),
    ] = False
    hold_s: Annotated[
        float,
        Meta(
            ge=0,
            le=180,
            description="With `[[sso]]`: how long a login with an unknown key waits for its user to sign in "
            "with a browser, seconds. 0: not at all. If `passwords` is on too, a user with an unknown key is "
            "asked for the password only with `ssh -o PubkeyAuthentication=no`.",
        ),
    ] = 180.0
    handshakes_per_s: Annotated[
        float,
        Meta(
            gt=0,
            le=10_000,
            description="SSH handshakes per second of one source (an IPv4 address, an IPv6 /64) in one "
            "worker: each costs the worker some 10 ms before the login. An IPv6 /48 may have four times as "
            "many. Five seconds' worth may arrive at once; more wait for up to 15 s, and those that would "
            "wait longer are disconnected. Raise it if many people share an address.",
        ),
    ] = 20.0
    accept_env: Annotated[
        tuple[str, ...],
        Meta(
            description="Direct login: the client's environment variables that are passed on to the shell, "
            "as in sshd's AcceptEnv; the shell's sshd has its own list. Other variables could change what "
            "runs."
        ),
    ] = ("LANG", "LC_*", "COLORTERM")

    @property
    def public_at(self) -> tuple[str, int] | None:
        """Return the name and port by which people reach SSH, or None if the settings do not say."""
        listened = split_address(self.addresses[0])[1] if self.addresses else 0
        port = self.public_port or listened
        return (self.host_names[0], port) if self.addresses and self.host_names and port else None

    def __post_init__(self) -> None:
        check_addresses(self.addresses, "ssh.addresses")
        for name in self.host_names:
            if (
                not name
                or not name.isascii()
                or not name.isprintable()
                or " " in name
                or "," in name
            ):
                raise ValueError(
                    f"ssh.host_names holds {name!r}, which is not a host name or an address"
                )


class HealthSettings(Table, frozen=True):
    """HTTP for probes and monitoring.

    `/healthz` succeeds while the gateway runs, `/readyz` while it accepts logins (not while it drains),
    and `/metrics` is for Prometheus.
    """

    address: Annotated[
        str | None,
        Meta(
            description="`HOST:PORT`, `[IPV6]:PORT` or `:PORT`. It does not authenticate clients, so keep it "
            "off the internet. None: no such listener."
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.address is not None:
            check_addresses((self.address,), "health.address")
