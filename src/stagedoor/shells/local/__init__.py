"""Shells on this machine: Stagedoor's own sshd on loopback, one process for each app.

One half of this package runs in the gateway (`adapter`, `start`), the other in the process of an app's sshd
(`__main__`, `sshd`, `session`, `process`, `terminal`). They communicate through a folder (`shell_folder`)
and, during a start, over two pipes. Only the second half imports `asyncssh`, so that a gateway worker does
not load it.

Every login runs as the OS user of the gateway, whatever login name the client sends: identities are proved by
keys and certificates, not by login names.
"""
