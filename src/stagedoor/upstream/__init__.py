"""The way from the gateway into a shell, for a session that the flow has opened.

    connect     TCP: look up the host, filter its addresses, dial; the flow's last step for all access methods
    login       SSH: the certificate that the gateway shows, and the host keys that it accepts
    session     log in to the shell for as long as a block lasts

`session.open_shell_session` is the entry for the listeners where SSH ends at the gateway: direct login and
the WebShell. CONNECT and jumps relay the TCP connection to the shell's sshd, and cannot see into it.
`connection` closes what asyncssh leaves open to a hostile shell; `command` and `host_key` are small services
on such a connection. This package knows nothing of listeners.
"""
