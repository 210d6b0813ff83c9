"""The settings of the web: the WebShell's terminals, and the pages round them."""

import re
from typing import Annotated

from msgspec import Meta

from stagedoor.model.hostname import valid_host_name, valid_host_pattern
from stagedoor.model.units import HOUR_S
from stagedoor.settings.form import (
    Seconds,
    Table,
    check_addresses,
    check_networks,
    check_url,
)

_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


class Web(Table, frozen=True):
    """The WebShell: terminals over WebSocket, in the browser and by `stagedoor attach`."""

    addresses: Annotated[
        tuple[str, ...],
        Meta(
            description="Where plain HTTP is answered, in the form of `tunnel.addresses`: for a reverse "
            "proxy that does TLS, or for loopback. Empty: nowhere."
        ),
    ] = ()
    tls_addresses: Annotated[
        tuple[str, ...],
        Meta(
            description="Where the same is answered over TLS, with `tunnel.certificate_file` and "
            "`tunnel.key_file`."
        ),
    ] = ()
    forwarded_from: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks (CIDR) of reverse proxies: the last address in the X-Forwarded-For of "
            "theirs is taken as the source. A request whose last entry is not an address is refused. "
            "Empty: nobody is believed."
        ),
    ] = ()
    host_names: Annotated[
        tuple[str, ...],
        Meta(
            description="The names by which browsers reach the WebShell (`shell.example.com`; "
            "`*.example.com` stands for one label more): a request for another name is answered 421. "
            "Addresses, `localhost`, `domain` with all below it, the name in `public_url`, and with "
            "`tls_addresses` those in the certificate, are known without being named."
        ),
    ] = ()
    public_url: Annotated[
        str | None,
        Meta(
            description="Where browsers reach the WebShell, `path` included: what links begin with "
            "(`stagedoor web-link`, `stagedoor share`). None: https:// and `domain`, else the first of "
            "`tls_addresses` or `addresses`."
        ),
    ] = None
    origins: Annotated[
        tuple[str, ...],
        Meta(
            description="Sites whose pages may open terminals here (`https://portal.example.com`), besides "
            "those that this gateway serves itself. Empty: none."
        ),
    ] = ()
    domain: Annotated[
        str | None,
        Meta(
            description="Below this name each app has a site of its own (`shell.example.com`: app01 is at "
            "`https://app01.shell.example.com/`); needs wildcard DNS and a certificate to match. One "
            "signing in holds for all of it. None: apps are at `/app/app01`."
        ),
    ] = None
    path: Annotated[
        str,
        Meta(
            description="What a reverse proxy serves this gateway below (`/stagedoor`) and passes on as it "
            "came. Empty: a site of its own."
        ),
    ] = ""
    tmux: Annotated[
        bool,
        Meta(
            description="Whether the page starts tmux in a new terminal, where the shell has it; a person "
            "may choose otherwise in the page's settings. Else it is the login shell. `stagedoor attach` "
            "starts tmux unless it has `--shell`."
        ),
    ] = True
    max_upload_mib: Annotated[
        int,
        Meta(ge=0, description="The largest file that may be sent so, in MiB. 0: any."),
    ] = 0
    ping_s: Annotated[
        Seconds,
        Meta(
            description="How often each open terminal is sent a WebSocket PING, seconds. The browser answers "
            "it, so no proxy closes the connection as idle; most do so after 60 s. A missing answer ends "
            "nothing."
        ),
    ] = 20.0
    share_s: Annotated[
        float,
        Meta(
            ge=0,
            description="For how long at most a link may show somebody's terminal to others who sign in "
            "here, seconds. 0: no terminal may be shared.",
        ),
    ] = 8 * HOUR_S
    session_s: Annotated[
        float,
        Meta(
            ge=60,
            description="How long a browser stays signed in after it was used last, seconds. Opening a page "
            "and typing in a terminal are use; a terminal that only shows output is not. Terminals that "
            "the sign-in opened end with it, and go on after the next one. The page warns 10 minutes before.",
        ),
    ] = 12 * HOUR_S
    session_max_s: Annotated[
        float,
        Meta(
            ge=60,
            description="How long a browser stays signed in at most, however much it is used, seconds: for "
            "so long a stolen cookie is good. A day is what NIST SP 800-63B-4 recommends for AAL2. A "
            "machine that the browser let in by `stagedoor login` is logged in for no longer.",
        ),
    ] = 24 * HOUR_S

    def __post_init__(self) -> None:
        if self.domain is not None and not valid_host_name(self.domain):
            raise ValueError(
                f"web.domain is {self.domain!r}; write a lower-case name, as shell.example.com"
            )
        if self.path and not _PATH.fullmatch(self.path):
            raise ValueError(f"web.path is {self.path!r}; write /NAME, without a slash at its end")
        check_addresses(self.addresses, "web.addresses")
        check_addresses(self.tls_addresses, "web.tls_addresses")
        check_url(self.public_url, "web.public_url")
        check_networks(self.forwarded_from, "web.forwarded_from")
        for name in self.host_names:
            if not valid_host_pattern(name):
                raise ValueError(
                    f"web.host_names holds {name!r}; write a lower-case name without a port, as "
                    "shell.example.com"
                )
        for origin in self.origins:
            scheme, separator, rest = origin.partition("://")
            if scheme not in ("http", "https") or not separator or not rest or "/" in rest:
                raise ValueError(
                    f"web.origins holds {origin!r}, which is no origin; write https://HOST[:PORT]"
                )
