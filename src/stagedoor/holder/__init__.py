"""The holder, which keeps a terminal alive inside a shell while clients connect and disconnect.

There is one process for each terminal, beside its program and never in the gateway, so a terminal survives
a restart of the gateway and a cut connection. It serves the terminal protocol (`wire.terminal.frames`) on
a Unix socket. `attach` connects that socket to stdin and stdout, and the gateway runs it through the
shell's sshd. The package uses only the standard library, since it runs where apps run; it must not import
anything of the gateway.
"""
