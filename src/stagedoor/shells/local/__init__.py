"""Shells on this machine: an sshd of our own on loopback, one process for each app.

Half of this package runs in the gateway (`adapter`, `start`, `place`, `authorized`) and half in
the process of an app's sshd (`__main__`, `sshd`, `session`, `process`, `terminal`). They meet in a
folder on disk and, while one starts, over two pipes. `asyncssh` is imported by the second half
only, so that a gateway worker does not carry it.

Every login runs as the OS user who runs the gateway, whatever login name the client sends: the
name of an identity is proven by its key or certificate, not by what somebody calls himself.
"""

from stagedoor.shells.local.adapter import LocalShells
from stagedoor.shells.local.settings import LocalShell

__all__ = ["LocalShell", "LocalShells"]
