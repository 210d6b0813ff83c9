"""The settings of records: the audit with its sinks, recordings, and how long both are kept."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from stagedoor.model.secure_url import check_secure_url, show_url
from stagedoor.settings.form import Table, check_unique, check_word, report_as

_PORTS = {"syslog+tls": 6514, "syslog+tcp": 514}
"""RFC 5425 §4.1. RFC 6587 names no port; servers commonly use 514."""


class SinkSettings(Table, frozen=True):
    """A copy of the audit elsewhere, from its first event on, in chained lines.

    Each event is delivered in order, at least once. Events that cannot be delivered stay in the store
    and are sent again.
    """

    name: Annotated[
        str,
        Meta(
            description="The sink's name in commands, the log and metrics: lower-case letters, digits and "
            "inner hyphens. The store keeps the sink's position by this name; under another name it starts "
            "at the first event."
        ),
    ]
    url: Annotated[
        str,
        Meta(
            description="`syslog+tls://HOST:PORT` (RFC 5424 over TLS, RFC 5425), "
            "`syslog+tcp://127.0.0.1:PORT` (RFC 6587 with octet counting, to this machine only), "
            "`https://…` (POST of JSON lines, "
            "`application/x-ndjson`; http to this machine only), or `file:///PATH` (appended; may be renamed "
            "by logrotate at any time)."
        ),
    ]
    ca_file: Annotated[
        Path | None,
        Meta(
            description="PEM file with the authorities that verify the server's certificate. None: the "
            "system's."
        ),
    ] = None
    certificate_file: Annotated[
        Path | None,
        Meta(description="PEM file with a client certificate and its chain, for syslog over TLS."),
    ] = None
    key_file: Annotated[
        Path | None, Meta(description="PEM file with that certificate's private key.")
    ] = None
    token_file: Annotated[
        Path | None,
        Meta(
            description="A file with one line, sent as `Authorization: Bearer …` to an `https://` URL. A "
            "world-readable file is refused."
        ),
    ] = None

    def __post_init__(self) -> None:
        check_word(self.name, "audit.sinks.name")
        with report_as("audit.sinks.url"):
            self._check_url()
        own = {
            "token_file": self.scheme in ("https", "http"),
            "certificate_file": self.scheme == "syslog+tls",
            "key_file": self.scheme == "syslog+tls",
            "ca_file": self.scheme in ("https", "syslog+tls"),
        }
        for name, fits in own.items():
            if getattr(self, name) is not None and not fits:
                raise ValueError(f"audit.sinks.{name} does not apply to {self.scheme}://")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("audit.sinks.certificate_file and audit.sinks.key_file go together")

    def _check_url(self) -> None:
        match self.scheme:
            case "https" | "http":
                check_secure_url(self.url)
            case "file":
                parts = urlsplit(self.url)
                if parts.netloc or not parts.path.startswith("/") or parts.query or parts.fragment:
                    raise ValueError(f"{self.url!r} does not name a file; write file:///PATH")
            case "syslog+tls" | "syslog+tcp":
                host, _ = self.server
                if self.scheme == "syslog+tcp" and not _is_loopback(host):
                    raise ValueError(
                        f"{self.url!r} is not encrypted, which is for this machine only (127.0.0.1, ::1); "
                        "write syslog+tls://"
                    )
            case _:
                raise ValueError(
                    f"{self.shown_url!r} is not a sink; write syslog+tls://HOST:PORT, https://… or file:///PATH"
                )

    @property
    def scheme(self) -> str:
        """Return the scheme of the URL, in lower case."""
        return self.url.partition(":")[0].lower()

    @property
    def shown_url(self) -> str:
        """Return the URL for people, logs and reports. An HTTP URL may have a secret in its path."""
        whole = self.scheme in ("file", "syslog+tls", "syslog+tcp")
        return self.url if whole else show_url(self.url)

    @property
    def server(self) -> tuple[str, int]:
        """Return the host and port of a syslog server. Raises ValueError."""
        parts = urlsplit(self.url)
        if not parts.hostname or parts.path.strip("/") or parts.query or parts.username is not None:
            raise ValueError(
                f"{self.url!r} is not a syslog server; write {self.scheme}://HOST:PORT"
            )
        return parts.hostname, parts.port or _PORTS[self.scheme]

    @property
    def path(self) -> Path:
        """Return the path of a `file://` URL."""
        return Path(urlsplit(self.url).path)


class AuditSettings(Table, frozen=True):
    """Copies of the audit elsewhere, and how long the store keeps it."""

    sinks: Annotated[
        tuple[SinkSettings, ...],
        Meta(
            description="The copies of the audit, one `[[audit.sinks]]` each. None: the audit is only in the "
            "store."
        ),
    ] = ()
    keep_days: Annotated[
        Annotated[float, Meta(gt=0, le=36525)] | None,
        Meta(
            description="An event is removed from the store this many days after it was written, once every "
            "sink has it. Needs a sink. None: never."
        ),
    ] = None
    refuse_after_s: Annotated[
        Annotated[float, Meta(ge=5)] | None,
        Meta(
            description="When an event has not reached every sink after this many seconds, all logins are "
            "refused until it has. None: a sink that fails never stops a login; the log, `/readyz` and "
            "`/metrics` report it."
        ),
    ] = None

    def __post_init__(self) -> None:
        check_unique((sink.name for sink in self.sinks), "[[audit.sinks]]")
        for name in ("keep_days", "refuse_after_s"):
            if getattr(self, name) is not None and not self.sinks:
                raise ValueError(f"audit.{name} needs a sink; add one as [[audit.sinks]]")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class RecordingSettings(Table, frozen=True):
    """Recordings of the terminals that end at the gateway (direct login, WebShell).

    They are in `recordings` in `data_dir`. Grants select the users who are recorded (`--allow record`) and
    those who may play recordings (`--allow replay`). CONNECT and jumps are encrypted from end to end and
    cannot be recorded.
    """

    on_failure: Annotated[
        Literal["end", "continue"],
        Meta(
            description="What happens to a session that can no longer be recorded (disk full): it ends, or "
            "continues unrecorded. Either way, the audit and the log report it."
        ),
    ] = "end"
    record_input: Annotated[
        bool,
        Meta(
            description="Whether what is typed is recorded too. Off, because it contains passwords that no "
            "screen shows."
        ),
    ] = False
    recipients: Annotated[
        tuple[str, ...],
        Meta(
            description="The keys that recordings are encrypted for: age recipients (`age1…`) or OpenSSH "
            "public keys (ed25519 or RSA). Only the private keys can decrypt them; the gateway cannot. "
            "Empty: recordings are not encrypted, mode 0600."
        ),
    ] = ()
    keep_days: Annotated[
        Annotated[float, Meta(gt=0, le=36525)] | None,
        Meta(
            description="A recording is removed this many days after its last byte, by an hourly check, "
            "unless it is still being written. None: never."
        ),
    ] = None
    keep_gib: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(
            description="When all recordings together exceed this many GiB, those that ended longest ago "
            "are removed. None: there is no such limit."
        ),
    ] = None
