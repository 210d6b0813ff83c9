"""The expiry times of this gateway's certificates."""

from contextlib import suppress

from stagedoor.keys.ca import certificate_end
from stagedoor.model.metric import Series
from stagedoor.net.tls import read_validity
from stagedoor.serve.metrics.definitions import CERTIFICATE
from stagedoor.settings.settings import Settings


def certificate_ends(settings: Settings) -> dict[str, float]:
    """Return the expiry of each certificate by name, in seconds since the epoch.

    A certificate that cannot be read or never expires is left out. The gateway logged at its start
    why it cannot be read.
    """
    ends: dict[str, float] = {}
    with suppress(OSError, ValueError):
        if settings.tunnel.certificate_file is not None:
            ends["tls"] = read_validity(settings.tunnel.certificate_file)[1]
    with suppress(OSError, ValueError):
        if settings.ssh.host_certificate_file is not None:
            line = settings.ssh.host_certificate_file.read_bytes()
            if (end := certificate_end(line)) is not None:
                ends["ssh_host"] = end
    return ends


def certificate_gauges(settings: Settings, now: float) -> dict[Series, float]:
    """Return the seconds until each certificate expires; `now` is seconds since the epoch."""
    return {CERTIFICATE.series(name): at - now for name, at in certificate_ends(settings).items()}
