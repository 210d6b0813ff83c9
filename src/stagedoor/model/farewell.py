"""How long a client has to read why its connection is closed, before the gateway closes it."""

REFUSAL_S = 1.0
"""Before authentication: short, so that unauthenticated clients free their place."""
FAREWELL_S = 5.0
"""After a login, since one second is too short on a busy machine or on a line that loses packets.

If the connection were closed at once, ssh(1) would fail to write its next message before it reads the reason.
Behind a ProxyCommand or `ssh -W` that can happen even so."""
