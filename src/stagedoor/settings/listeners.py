"""The settings of the access methods but the web: which networks connect, where each listener answers."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from stagedoor.settings.form import (
    Count,
    Port,
    Seconds,
    Table,
    check_addresses,
    check_networks,
    check_url,
    split_address,
)
from stagedoor.settings.startups import parse_limits

PRIVATE_NETWORKS = (
    "127.0.0.0/8",
    "::1/128",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
    "fe80::/10",
)
"""Loopback, RFC 1918, RFC 4193 and link-local: what cannot be reached from the internet."""


class Listen(Table, frozen=True):
    """Source networks that may connect at all, by whichever access method."""

    networks: Annotated[
        tuple[str, ...],
        Meta(
            description="Only these source networks (CIDR) are answered; others get 403, and over TLS no "
            "handshake. "
            "The default is loopback and private ranges, so that a gateway that is "
            "bound to a public address by mistake lets nobody in."
        ),
    ] = PRIVATE_NETWORKS
    proxy_protocol_from: Annotated[
        tuple[str, ...],
        Meta(
            description="Connections from these networks (your load balancer) must begin with a PROXY "
            "protocol header (v1 or v2), and the address that it names is taken as the source; to the "
            "WebShell, a proxy in `web.forwarded_from` sends none. "
            "Empty: a PROXY line is refused, since anybody could write one."
        ),
    ] = ()
    header_timeout_s: Annotated[
        Seconds,
        Meta(
            description="A request's header must be complete within this time of the accept; bytes that "
            "drip in do not extend it. Ten seconds is ample for a slow line and bores an attacker."
        ),
    ] = 10.0
    max_pending: Annotated[
        Count,
        Meta(
            description="Connections in one worker that have not yet sent a whole header. When one more "
            "arrives the oldest of the source with most of them is closed, so that slow clients cannot lock "
            "others out. The WebShell counts those that have said nothing, a quarter of them at most from "
            "one source, and keeps at most 768 that have, and 384 over TLS, until they prove who they are."
        ),
    ] = 4096

    def __post_init__(self) -> None:
        for name in ("networks", "proxy_protocol_from"):
            check_networks(getattr(self, name), f"listen.{name}")


class Tunnel(Table, frozen=True):
    """The HTTP CONNECT listener."""

    addresses: Annotated[
        tuple[str, ...],
        Meta(
            description="Where plain HTTP CONNECT is answered: `HOST:PORT`, `[IPV6]:PORT` or `:PORT` for "
            "every interface. Port 0 takes a free one. The default is loopback: to "
            "listen on a network is a decision."
        ),
    ] = ("127.0.0.1:8022",)
    tls_addresses: Annotated[
        tuple[str, ...],
        Meta(
            description="Where the same is answered over TLS. Needs `certificate_file` and `key_file`."
        ),
    ] = ()
    public_url: Annotated[
        str | None,
        Meta(
            description="Where people reach CONNECT, as `https://gw.example` or `http://gw.example:8022`: "
            "what `stagedoor ssh-config` writes unless an option says otherwise. None: not known."
        ),
    ] = None
    certificate_file: Annotated[
        Path | None,
        Meta(description="PEM file with the gateway's certificate and its chain. Read at SIGHUP."),
    ] = None
    key_file: Annotated[
        Path | None,
        Meta(
            description="PEM file with the certificate's private key, without a passphrase. It is refused if "
            "everybody may read it."
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


class Ssh(Table, frozen=True):
    """The SSH listener: the jump host, and direct login."""

    addresses: Annotated[
        tuple[str, ...],
        Meta(
            description="Where SSH is answered, in the form of `tunnel.addresses`. Empty: nowhere. A second "
            "access method is a decision, and port 22 is the machine's own sshd's as a rule."
        ),
    ] = ()
    host_names: Annotated[
        tuple[str, ...],
        Meta(
            description="The names and addresses by which people reach this listener: they stand in the "
            "host certificate, and the first in the commands that the gateway prints. Empty: this "
            "machine's name and the addresses that are listened on."
        ),
    ] = ()
    public_port: Annotated[
        Port | None,
        Meta(
            description="The port by which people reach this listener, in the commands that the gateway "
            "prints: a load balancer's or a Service's, where that is another one. None: that of "
            "`addresses`."
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
            description="The host key's certificate (made by `stagedoor ca sign-host`), where the host CA's "
            "private key is kept from the gateway; read again each day. None: the gateway signs one."
        ),
    ] = None
    trusted_user_ca_files: Annotated[
        tuple[Path, ...],
        Meta(
            description="Public keys of further CAs whose user certificates are accepted, besides the "
            "user CA. Principals are users' names."
        ),
    ] = ()
    revoked_keys_file: Annotated[
        Path | None,
        Meta(
            description="Keys and certificates that are refused: a list made by `ssh-keygen -k`, or public "
            "keys, one a line. Read again whenever it changes, and live sessions of what it names are "
            "closed. While it cannot be read, no key is taken. None: nothing is revoked but by "
            "`stagedoor key remove`."
        ),
    ] = None
    passwords: Annotated[
        bool, Meta(description="Whether a password, or a token in its place, may be used.")
    ] = False
    keyboard_interactive: Annotated[
        bool,
        Meta(description="The same by the method that asks: some clients know only this one."),
    ] = False
    login_grace_s: Annotated[
        Seconds,
        Meta(
            description="A connection that has not logged in within this time is closed. A minute is "
            "enough to find a security key and touch it."
        ),
    ] = 60.0
    hold_s: Annotated[
        float,
        Meta(
            ge=0,
            le=180,
            description="For how long a key that nobody knows waits for its person to sign in with a "
            "browser, where `[[sso]]` is set up, seconds. 0: not at all. With `passwords` too, a user who "
            "has an unknown key is asked for the password only with `ssh -o PubkeyAuthentication=no`.",
        ),
    ] = 180.0
    max_startups: Annotated[
        str,
        Meta(
            description="START:RATE:FULL, connections in one worker that have not logged in yet. Above "
            "START, each new connection drops a waiting one with a probability of RATE %, which grows to "
            "100 % at FULL. The one that is dropped is of the source (an IPv4 address, an IPv6 /64) that "
            "has the most of them."
        ),
    ] = "100:30:500"
    handshakes_per_s: Annotated[
        float,
        Meta(
            gt=0,
            le=10_000,
            description="SSH handshakes a second of one source (an IPv4 address, an IPv6 /64) in one worker: "
            "each costs the worker some 10 ms before anybody has logged in. An IPv6 /48 has four times as "
            "many. Five seconds' worth may come at once; more wait for their turn, up to 15 s, and beyond "
            "that are cut off. Raise it where many people share an address.",
        ),
    ] = 20.0
    alive_interval_s: Annotated[
        Seconds,
        Meta(
            description="A client that was silent for so long is asked whether it is there; after two "
            "questions without an answer it is cut off at the third. The default finds one that "
            "vanished in 75 s."
        ),
    ] = 25.0
    max_channels: Annotated[
        Count, Meta(description="Channels open at once on one connection (ControlMaster has many).")
    ] = 256
    accept_env: Annotated[
        tuple[str, ...],
        Meta(
            description="Direct login: variables of the client that are handed on to the shell, as in sshd's "
            "AcceptEnv; its sshd has a list of its own. Others could change what runs."
        ),
    ] = ("LANG", "LC_*", "COLORTERM")

    @property
    def public_at(self) -> tuple[str, int] | None:
        """By which name and port people reach it, as far as the settings tell."""
        listened = split_address(self.addresses[0])[1] if self.addresses else 0
        port = self.public_port or listened
        return (self.host_names[0], port) if self.addresses and self.host_names and port else None

    def __post_init__(self) -> None:
        check_addresses(self.addresses, "ssh.addresses")
        parse_limits(self.max_startups)
        for name in self.host_names:
            if (
                not name
                or not name.isascii()
                or not name.isprintable()
                or " " in name
                or "," in name
            ):
                raise ValueError(f"ssh.host_names holds {name!r}, which is no host name or address")


class Health(Table, frozen=True):
    """HTTP for probes: `/healthz` (it runs), `/readyz` (it lets people in; not while it drains) and
    `/metrics` (Prometheus).
    """

    address: Annotated[
        str | None,
        Meta(
            description="`HOST:PORT`, `[IPV6]:PORT` or `:PORT`. It asks nobody who they are, so keep it off "
            "the internet. None: no such listener."
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.address is not None:
            check_addresses((self.address,), "health.address")
