"""The limits on clients, in time and number, that no setting changes.

Tests pass shorter ones, because they cannot wait for these to end.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StartupLimits:
    """The SSH connections of a worker that may wait for their login (sshd_config(5) MaxStartups).

    Up to `start` connections may wait. Above that, each new one drops a waiting one with a
    probability of `rate` per cent, which grows linearly to 100 per cent at `full`.
    """

    start: int = 100
    rate: int = 30
    full: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """The limits of one worker's clients."""

    header_timeout_s: float = 10.0
    """The time from the accept within which a PROXY header, a TLS handshake and a request's header must be
    complete, and from a WebSocket's handshake to its first frame. Ample for a slow line, and too short for an
    attacker to hold many connections."""
    max_pending: int = 4096
    """The most connections to the CONNECT listener without a whole header, or to the WebShell without a byte.
    When one more arrives, the oldest one of the network with the most of them is closed."""
    startups: StartupLimits = StartupLimits()
    login_grace_s: float = 60.0
    """An SSH connection must have logged in by then: a minute to find a security key and touch it."""
    alive_interval_s: float = 25.0
    """An SSH client that has been silent this long is sent a keepalive request. Together with
    `ssh.options.ALIVE_COUNT` this detects a vanished client within 75 s."""
    max_channels: int = 256
    """The channels of one SSH connection. ControlMaster opens many."""
    ping_s: float = 20.0
    """The interval of a WebSocket's PINGs (RFC 6455 §5.5.2). Most proxies close what is idle for 60 s."""


LIMITS = ClientLimits()
