"""Prepares a start: checks or creates settings, folders, the store, keys and sockets."""

import hashlib
import os
import pwd
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from stagedoor.admin.certificates.authorities import ensure_cas, read_host_ca
from stagedoor.admin.service import open_service
from stagedoor.admin.sessions import close_orphaned_sessions
from stagedoor.keys.ca import read_certificate_end
from stagedoor.model.errors import SettingsError, StagedoorError, install_extra
from stagedoor.model.metric import Series
from stagedoor.model.units import DAY_S
from stagedoor.net.listen import ListeningGroup, bind
from stagedoor.net.tls import make_server_context, read_validity
from stagedoor.serve.metrics.definitions import CERTIFICATE
from stagedoor.settings.file import parse_settings, read_settings
from stagedoor.settings.form import split_address
from stagedoor.settings.safe_files import read_secret
from stagedoor.settings.settings import Settings
from stagedoor.settings.traces import TraceSettings
from stagedoor.store.liveness.instances import find_instances_folder, remove_lock
from stagedoor.wire.rfc3339 import show_time

CERTIFICATE_SOON_S = 14 * DAY_S
"""The time left at which an automatic renewal should already have happened."""
Bound = dict[tuple[str, str, int], ListeningGroup]
"""Sockets by kind (`tunnel`, `tunnel-tls`, `ssh`, `web`, `web-tls`), address in the settings, and slot."""


@dataclass(frozen=True, slots=True)
class VerifiedSettings:
    """Checked settings, with the text that they were read from and the text's name for messages."""

    settings: Settings
    text: str
    name: str

    @property
    def digest(self) -> str:
        """A digest of the text, with which programs of two versions compare their settings."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def check(settings_file: Path | None) -> VerifiedSettings:
    """Read the settings and check every file that they name. Changes nothing.

    Raises SettingsError or another StagedoorError, with a message of one line.
    """
    text, name = read_settings(settings_file)
    settings = parse_settings(text, name)
    _refuse_root_in_foreign_folder(settings.data_dir)
    tunnel = settings.tunnel
    if tunnel.certificate_file and tunnel.key_file:
        _refuse_if_exposed(tunnel.key_file)
        make_server_context(tunnel.certificate_file, tunnel.key_file)
    if settings.kubernetes.is_controlled:
        check_kubernetes(settings)
    if settings.traces.url is not None:
        check_traces(settings.traces)
    return VerifiedSettings(settings, text, name)


def check_traces(traces: TraceSettings) -> None:
    """Check that traces can be exported.

    Raises SettingsError if the libraries are missing or the token cannot be read.
    """
    if find_spec("opentelemetry") is None:
        raise SettingsError(
            "traces.url needs OpenTelemetry's libraries, which are not installed; install them with: "
            f"{install_extra('otel')}"
        )
    if traces.token_file is not None:
        read_secret(traces.token_file, "traces.token_file", "the token")


def check_kubernetes(settings: Settings) -> None:
    """Check what `[kubernetes]` names. Raises SettingsError, even if just its libraries are missing."""
    try:
        from stagedoor.admin import kubernetes
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"[kubernetes] needs the library {error.name}, which is not installed; install it with: "
            f"{install_extra('kubernetes')}"
        ) from None
    kubernetes.check_settings(settings)


def _refuse_root_in_foreign_folder(data_dir: Path) -> None:
    """Refuse to run as root in the folder of another account, which could not read root's files there."""
    try:
        owner = data_dir.stat().st_uid
    except OSError:
        return  # it does not exist yet, or `prepare` reports it better
    if os.geteuid() == 0 != owner:
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = str(owner)
        raise SettingsError(
            f"{data_dir} belongs to {name}, and a gateway that runs as root would leave files there that "
            f"{name} cannot use; run it as that account: runuser -u {name} -- stagedoor serve"
        )


def warn_of_certificate(settings: Settings, now: float) -> str | None:
    """Return a warning if the TLS certificate is invalid or expires soon, else None.

    `now` is seconds since the epoch.
    """
    file = settings.tunnel.certificate_file
    if file is None:
        return None
    begins_at, ends_at = read_validity(file)
    if now < begins_at:
        wrong = f"is not valid before {show_time(begins_at)}: clients refuse it until then"
    elif now >= ends_at:
        wrong = f"expired at {show_time(ends_at)}: clients refuse it"
    elif ends_at - now < CERTIFICATE_SOON_S:
        wrong = f"expires at {show_time(ends_at)}"
    else:
        return None
    return f"the TLS certificate {file} (tunnel.certificate_file) {wrong}; renew it, and reload the gateway"


def _refuse_if_exposed(key_file: Path) -> None:
    """Refuse a key file that every account can read. A group may, as Debian's `ssl-cert` does."""
    try:
        exposed = key_file.stat().st_mode & 0o007
    except OSError:
        return  # `make_server_context` reports it better
    if exposed:
        raise SettingsError(
            f"tunnel.key_file: {key_file} is world-readable; run: chmod o= {key_file}"
        )


def prepare(settings: Settings) -> None:
    """Create the folder, the store and the keys that are missing, and close lost sessions in the audit.

    Raises StagedoorError.
    """
    with open_service(settings) as service:
        ensure_cas(settings)
        read_host_ca(settings)  # if it is only the public half, check that it can be read
        lost = close_orphaned_sessions(service)
    if lost:
        import structlog  # not for `stagedoor status`, which logs nothing

        structlog.get_logger().warning(
            "sessions of a gateway that died were closed", lost=len(lost)
        )


def bind_all(settings: Settings, held: Bound) -> Bound:
    """Return a listening socket for each kind, address and slot, reusing those in `held`.

    Raises StagedoorError, and then no new socket stays bound.
    """
    bound: Bound = {}
    fresh: list[ListeningGroup] = []
    try:
        for kind, setting, texts in (
            ("tunnel", "tunnel.addresses", settings.tunnel.addresses),
            ("tunnel-tls", "tunnel.tls_addresses", settings.tunnel.tls_addresses),
            ("ssh", "ssh.addresses", settings.ssh.addresses),
            ("web", "web.addresses", settings.web.addresses),
            ("web-tls", "web.tls_addresses", settings.web.tls_addresses),
        ):
            for text in texts:
                first = held.get((kind, text, 0))
                host, port = split_address(text)
                for slot in range(settings.workers.count):
                    key = (kind, text, slot)
                    if key in held:
                        bound[key] = held[key]
                        continue
                    again = first.list_addresses() if first else None
                    bound[key] = bind(host, port, names=again, setting=setting)
                    fresh.append(bound[key])
                    first = first or bound[key]
    except StagedoorError:
        for listening in fresh:
            listening.close_sockets()
        raise
    return bound


def close_lost_sessions(settings: Settings, instance: str) -> list[str]:
    """Close in the audit the sessions that a dead worker left open, and remove its lock file.

    Returns the sessions' ids. Raises StoreError.
    """
    with open_service(settings, create=False) as service:
        lost = close_orphaned_sessions(service)
    remove_lock(find_instances_folder(settings.data_dir), instance)
    return lost


def read_certificate_ends(settings: Settings) -> dict[str, float]:
    """Return the expiry of each certificate by name, in seconds since the epoch.

    Certificates that cannot be read or never expire are left out. At its start, the gateway has logged why
    one cannot be read.
    """
    ends: dict[str, float] = {}
    with suppress(OSError, ValueError):
        if settings.tunnel.certificate_file is not None:
            ends["tls"] = read_validity(settings.tunnel.certificate_file)[1]
    with suppress(OSError, ValueError):
        if settings.ssh.host_certificate_file is not None:
            line = settings.ssh.host_certificate_file.read_bytes()
            if (end := read_certificate_end(line)) is not None:
                ends["ssh_host"] = end
    return ends


def measure_certificates(settings: Settings, now: float) -> dict[Series, float]:
    """Return the seconds until each certificate expires; `now` is seconds since the epoch."""
    return {
        CERTIFICATE.make_series(name): at - now
        for name, at in read_certificate_ends(settings).items()
    }
