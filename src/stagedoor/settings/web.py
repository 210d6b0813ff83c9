"""The settings of the web: the WebShell's terminals, and the pages around them."""

import re
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from stagedoor.model.hostname import is_valid_host_name, is_valid_host_pattern
from stagedoor.model.units import HOUR_S
from stagedoor.settings.form import Table, check_addresses, check_networks, check_url

_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


class ApiSettings(Table, frozen=True):
    """The HTTP API `/api/v1` for administration, at the WebShell's addresses."""

    networks: Annotated[
        tuple[str, ...],
        Meta(
            description="The networks (CIDR) from which the API may be used, besides `listen.networks`. "
            "Empty: all that may use the WebShell. The API does nothing for users without a role "
            "(`stagedoor role add`)."
        ),
    ] = ()

    def __post_init__(self) -> None:
        check_networks(self.networks, "api.networks")


class WebSettings(Table, frozen=True):
    """The WebShell: terminals over WebSocket, in the browser and by `stagedoor attach`."""

    addresses: Annotated[
        tuple[str, ...],
        Meta(
            description="The addresses for plain HTTP, in the form of `tunnel.addresses`: for a reverse "
            "proxy that does TLS, or for loopback. Empty: none."
        ),
    ] = ()
    tls_addresses: Annotated[
        tuple[str, ...],
        Meta(
            description="The addresses for HTTP over TLS, with `tunnel.certificate_file` and "
            "`tunnel.key_file`."
        ),
    ] = ()
    forwarded_from: Annotated[
        tuple[str, ...],
        Meta(
            description="The networks (CIDR) of reverse proxies: the last address in their X-Forwarded-For "
            "is taken as the source. A request whose last entry is not an address is refused. Empty: no "
            "X-Forwarded-For is trusted."
        ),
    ] = ()
    host_names: Annotated[
        tuple[str, ...],
        Meta(
            description="The names by which browsers reach the WebShell (`shell.example.com`; "
            "`*.example.com` stands for one label more). A request for another name is answered 421. "
            "Addresses, `localhost`, `domain` and all names below it, the name in `public_url`, and with "
            "`tls_addresses` the names in the certificate, are accepted without being listed."
        ),
    ] = ()
    public_url: Annotated[
        str | None,
        Meta(
            description="The URL at which browsers reach the WebShell, with `path`. Links begin with it "
            "(`stagedoor web-link`, `stagedoor share`). None: https:// and `domain`, or else the first of "
            "`tls_addresses` or `addresses`."
        ),
    ] = None
    origins: Annotated[
        tuple[str, ...],
        Meta(
            description="Other sites whose pages may open terminals here (`https://portal.example.com`), "
            "besides this gateway's own pages. Empty: none."
        ),
    ] = ()
    domain: Annotated[
        str | None,
        Meta(
            description="The name below which each app has its own site (`shell.example.com`: app01 is at "
            "`https://app01.shell.example.com/`). It needs wildcard DNS and a matching certificate. One "
            "sign-in is valid for all of these sites. None: apps are at `/app/app01`."
        ),
    ] = None
    path: Annotated[
        str,
        Meta(
            description="The path below which a reverse proxy serves this gateway (`/stagedoor`), and which "
            "it passes on unchanged. Empty: the gateway has the whole site."
        ),
    ] = ""
    company: Annotated[
        Annotated[str, Meta(max_length=40)] | None,
        Meta(
            description="The name at the top of every page, in place of Stagedoor's.",
        ),
    ] = None
    logo_file: Annotated[
        Path | None,
        Meta(
            description="The image beside that name: PNG, or SVG without scripts and links, 64 KiB at most. "
            "It is drawn 24 pixels high, on white in the dark theme. None: Stagedoor's own."
        ),
    ] = None
    help_url: Annotated[
        str | None,
        Meta(
            description="A page of yours about these shells, linked as *Help* on every page. None: no link."
        ),
    ] = None
    tmux: Annotated[
        bool,
        Meta(
            description="Whether the page starts tmux in a new terminal, if the shell has it; otherwise it "
            "starts the login shell. A person may choose otherwise in the page's settings. "
            "`stagedoor attach` starts tmux unless it has `--shell`."
        ),
    ] = True
    share_s: Annotated[
        float,
        Meta(
            ge=0,
            description="The longest time that a link may share a terminal with other people who sign in "
            "here, seconds. 0: no terminal may be shared.",
        ),
    ] = 8 * HOUR_S
    session_s: Annotated[
        float,
        Meta(
            ge=60,
            description="How long a browser stays signed in after it was last used, seconds. Opening a page "
            "and typing in a terminal count as use; output in a terminal does not. The terminals of a "
            "sign-in are disconnected when it ends, and continue after the next one. The page warns 10 "
            "minutes before.",
        ),
    ] = 12 * HOUR_S
    session_max_s: Annotated[
        float,
        Meta(
            ge=60,
            description="The longest time that a browser stays signed in, however much it is used, seconds. "
            "A stolen cookie is valid for as long. NIST SP 800-63B-4 recommends a day for AAL2. A machine "
            "that the browser has logged in by `stagedoor login` stays logged in for no longer.",
        ),
    ] = 24 * HOUR_S

    def __post_init__(self) -> None:
        if self.domain is not None and not is_valid_host_name(self.domain):
            raise ValueError(
                f"web.domain is {self.domain!r}; write a lower-case name, as shell.example.com"
            )
        if self.path and not _PATH.fullmatch(self.path):
            raise ValueError(f"web.path is {self.path!r}; write /NAME, without a slash at its end")
        check_addresses(self.addresses, "web.addresses")
        check_addresses(self.tls_addresses, "web.tls_addresses")
        check_url(self.public_url, "web.public_url")
        check_url(self.help_url, "web.help_url")
        if self.company is not None and not (self.company.strip() and self.company.isprintable()):
            raise ValueError(f"web.company is {self.company!r}; write a name on one line")
        check_networks(self.forwarded_from, "web.forwarded_from")
        for name in self.host_names:
            if not is_valid_host_pattern(name):
                raise ValueError(
                    f"web.host_names holds {name!r}; write a lower-case name without a port, as "
                    "shell.example.com"
                )
        for origin in self.origins:
            scheme, separator, rest = origin.partition("://")
            if scheme not in ("http", "https") or not separator or not rest or "/" in rest:
                raise ValueError(
                    f"web.origins holds {origin!r}, which is not an origin; write https://HOST[:PORT]"
                )
