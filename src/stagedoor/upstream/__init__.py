"""The connections from the gateway to shells, for sessions that the flow has opened.

    connect     TCP: look up the host, filter its addresses, dial; the flow's last step for every method
    login       SSH: the certificate that the gateway presents, and the host keys that it accepts
    session     log in to the shell for the length of a block

Listeners at which SSH ends (direct login and the WebShell) call `session.open_shell_session`. CONNECT and
jumps relay the TCP connection to the shell's sshd, and cannot see into it. `connection` protects asyncssh
from hostile shells, `command` runs a command over such a connection, `shell_endpoint` reaches the shell's
endpoint of resumable tunnels, and `probe` asks an SSH server what needs no login. This package knows nothing
of listeners.
"""
