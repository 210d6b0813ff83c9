"""The checks of each HTTP request's source, host name and origin, before anything else is done."""

from collections.abc import Awaitable
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from stagedoor.listeners.accept import AcceptRules
from stagedoor.listeners.limits import LIMITS, ClientLimits
from stagedoor.listeners.web.pages.language import use_language
from stagedoor.model.credential import PasswordCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method
from stagedoor.model.session import AccessMethod, LoginOrigin
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.session.flow import Flow
from stagedoor.settings.logo import Logo
from stagedoor.wire.http.fields import is_known, is_loopback, is_named, parse_last_forwarded
from stagedoor.wire.target import parse_login


@dataclass(frozen=True, slots=True)
class Brand:
    """The name and logo at the top of each page, and the link for help. None stands for Stagedoor's own."""

    name: str = "Stagedoor"
    logo: Logo | None = None
    help_url: str | None = None


STAGEDOOR = Brand()


@dataclass(frozen=True, slots=True)
class WebListenerSettings:
    """The settings of the web listener.

    `rules` decide from which sources requests are accepted. `host_names` are the names that a request's Host
    may have, besides addresses, localhost, and `domain` with its subdomains. `origins` may open terminals,
    besides the gateway's own origin by the name in the request. `domain` is the domain below which each app
    has its own name, or None; `path` is the prefix of every path, empty or for example `/stagedoor`. `tmux`
    is whether new terminals start tmux. A share of a terminal lasts at most `share_s` seconds (0: sharing is
    disabled). `brand` is at the top of each page.
    """

    rules: AcceptRules
    host_names: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    domain: str | None = None
    path: str = ""
    tmux: bool = True
    share_s: float = 0.0
    brand: Brand = STAGEDOOR
    client_limits: ClientLimits = LIMITS


def make_web_login_origin(source: Source) -> LoginOrigin:
    """Return the origin of a session or refusal that came over HTTP from `source`."""
    return LoginOrigin(AccessMethod.WEB, source)


class RequestGuard:
    """The checks of every HTTP request and WebSocket. A check returns None or the refusal."""

    def __init__(self, flow: Flow, settings: WebListenerSettings) -> None:
        self.flow = flow
        self.settings = settings
        self.rules = settings.rules
        self.draining = False

    def find_source(self, connection: HTTPConnection) -> Source:
        """Return the client's address: the peer's, or the one that a trusted reverse proxy reports.

        If the proxy's report cannot be read, return the proxy's address. `check_connection` refuses the
        request, and the audit needs an address.
        """
        peer = _read_peer(connection)
        return self._read_forwarded(connection, peer) or peer

    def record_denial(
        self,
        connection: HTTPConnection,
        denial: Denial,
        identity: Identity | None = None,
        target: Target | None = None,
    ) -> Denial:
        """Audit a refusal of the client, and return it."""
        return self.flow.record_denial(
            denial, make_web_login_origin(self.find_source(connection)), identity, target
        )

    def _check_forwarded(self, connection: HTTPConnection) -> Denial | None:
        """Refuse a client whose reported address cannot be read, since it must not count as the proxy."""
        peer = _read_peer(connection)
        if self._read_forwarded(connection, peer) is not None:
            return None
        return Denial.with_fix(
            Reason.BAD_REQUEST,
            f"the proxy at {peer.address} sent an X-Forwarded-For whose last entry is not an address",
            "web.forwarded_from trusts it; an administrator corrects that proxy's settings",
            "report this to an administrator",
        )

    def _read_forwarded(self, connection: HTTPConnection, peer: Source) -> Source | None:
        values = connection.headers.getlist("x-forwarded-for")
        if not values or not self.rules.is_reverse_proxy(peer):
            return peer
        return parse_last_forwarded(values)

    def check_source(self, connection: HTTPConnection) -> Denial | None:
        """Refuse clients outside the allowed networks, and all clients while the gateway drains."""
        if self.draining:
            return Denial(Reason.DRAINING, "the gateway is stopping; try again in a moment", 1)
        return self.rules.check_source(self.find_source(connection))

    def check_peer(self, peer: Source) -> Denial | None:
        """Refuse a peer outside the allowed networks that is no trusted reverse proxy, before it is read."""
        return None if self.rules.is_reverse_proxy(peer) else self.rules.check_source(peer)

    def check_connection(self, connection: HTTPConnection) -> Denial | None:
        """Refuse a request by its source or its Host, whatever its path."""
        return (
            self._check_forwarded(connection)
            or self.rules.check_source(self.find_source(connection))
            or self._check_host(connection)
        )

    def mark_authenticated(self, connection: HTTPConnection) -> None:
        """Stop counting the connection as unauthenticated."""
        connection.scope["state"]["connection"].mark_authenticated()

    def accept_identity(self, connection: HTTPConnection, identity: Identity) -> None:
        """Mark the connection as authenticated, and answer it in the language that its user has chosen.

        A program, which sends an Authorization header, names its language in the request instead.
        """
        self.mark_authenticated(connection)
        if "authorization" not in connection.headers:
            use_language(self.flow.find_language(identity))

    async def check_password(
        self, connection: HTTPConnection, identity: Identity, password: str
    ) -> Identity | Denial:
        """Return the identity of a signed-in user, proved by `password`. A token is not accepted."""
        source = self.find_source(connection)
        proved = await self.flow.authenticate(PasswordCredential(identity.name, password), source)
        if isinstance(proved, Identity) and proved.method is not Method.PASSWORD:
            return Denial(Reason.BAD_REQUEST, "type your password, not a token")
        return proved

    def _check_host(self, connection: HTTPConnection) -> Denial | None:
        if connection.scope.get("method") == "CONNECT":  # its Host names the shell
            return Denial.with_fix(
                Reason.BAD_REQUEST,
                "this is the WebShell's port; HTTP CONNECT has one of its own",
                "tunnel.addresses",
            )
        host = connection.headers.get("host", "")
        if is_known(host, self.settings.host_names, self.settings.domain):
            return None
        return Denial.with_fix(
            Reason.TARGET_NOT_ALLOWED,
            f"{host!r} is not a name of this gateway",
            "an administrator adds it to web.host_names",
            "use the address that you were given, or ask an administrator",
        )

    async def apply_change(self, change: Awaitable[Denial | None]) -> Denial | None:
        """Await a change of the policy, then read the policy, so that the next page shows the change."""
        denial = await change
        if denial is None:
            await self.read_policy()
        return denial

    async def read_policy(self) -> None:
        """Read the policy, so that the next page shows a change that was just made."""
        policy = self.flow.policy
        await policy.read_newer_than(policy.version)

    def is_secure(self, connection: HTTPConnection) -> bool:
        """Return whether the client uses TLS, to us or to a trusted reverse proxy that reports so."""
        if connection.url.scheme in ("https", "wss"):
            return True
        values = connection.headers.getlist("x-forwarded-proto")
        scheme = values[-1].rpartition(",")[2].strip() if values else ""
        return scheme in ("https", "wss") and self.rules.is_reverse_proxy(_read_peer(connection))

    def find_own_origin(self, connection: HTTPConnection) -> str:
        """Return the gateway's origin by the Host of this request (RFC 6454 §6.2)."""
        scheme = "https" if self.is_secure(connection) else "http"
        return f"{scheme}://{connection.headers.get('host', '')}"

    def is_on_domain(self, connection: HTTPConnection) -> bool:
        """Return whether the Host is the domain of the apps, or a name below it."""
        domain, host = self.settings.domain, _read_host(connection)
        return domain is not None and (host == domain or host.endswith(f".{domain}"))

    def derive_base_url(self, connection: HTTPConnection) -> str:
        """Return the gateway's base URL by the Host of this request: the origin and the path prefix."""
        return self.find_own_origin(connection) + self.settings.path

    def check_signed_name(self, connection: HTTPConnection) -> Denial | None:
        """Refuse a signature for an address, if the settings give this gateway a name.

        Another gateway may have the same address in another network, and could relay signatures that its
        users make for it. Pages need no such check, since the name of another site is never an address.
        Programs on this machine may use its loopback addresses.
        """
        names, domain = self.settings.host_names, self.settings.domain
        host = connection.headers.get("host", "")
        if not (names or domain) or is_named(host, names, domain):
            return None
        if self.find_source(connection).address.is_loopback and is_loopback(host):
            return None
        name = min((name for name in names if not name.startswith("*")), default=domain)
        return Denial(
            Reason.TARGET_NOT_ALLOWED,
            f"this gateway is not called {host!r}, so a signature for that name is not accepted here; log in "
            + (f"at https://{name}{self.settings.path}" if name else "by its name"),
        )

    def check_origin(self, connection: HTTPConnection) -> Denial | None:
        """Refuse WebSockets that pages of other sites open with their user's rights (RFC 6455 §10.2).

        Only browsers send an Origin.
        """
        origin = connection.headers.get("origin")
        if origin is None or origin in self.settings.origins:
            return None
        if origin == self.find_own_origin(connection):
            return None
        return Denial.with_fix(
            Reason.SOURCE_NOT_ALLOWED,
            "a page of another site may not open terminals here",
            "an administrator names it in web.origins",
            "open the gateway's own page",
        )

    def check_own_page(self, connection: HTTPConnection) -> Denial | None:
        """Refuse a request with a cookie, unless one of our own pages sends it (browsers send an Origin)."""
        if connection.headers.get("origin") == self.find_own_origin(connection):
            return None
        return Denial.with_fix(
            Reason.SOURCE_NOT_ALLOWED,
            "this request was refused, because no page of this gateway sent it",
            "a reverse proxy passes on Host, and X-Forwarded-Proto from an address in web.forwarded_from",
            "open the gateway's own page and try again",
        )

    def find_app(self, connection: HTTPConnection) -> Target | None:
        """Return the app that the Host names, such as `app01.shell.example.com`, or None."""
        domain, host = self.settings.domain, _read_host(connection)
        if domain is None or not host.endswith(f".{domain}"):
            return None
        return parse_login(host.removesuffix(f".{domain}"))


def _read_host(connection: HTTPConnection) -> str:
    return (connection.url.hostname or "").lower()


def _read_peer(connection: HTTPConnection) -> Source:
    assert connection.client is not None, "our sockets are TCP"
    return Source.of(connection.client.host, connection.client.port)
