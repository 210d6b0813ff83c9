"""The holder, which keeps a terminal alive inside a shell while clients connect and disconnect.

There is one process for each terminal, next to its program and never in the gateway, so a terminal survives a
restart of the gateway and a cut connection. It serves the terminal protocol (`wire.terminal.frames`) on a
Unix socket. `attach` connects that socket to stdin and stdout, and the gateway runs it through the shell's
sshd. As the package runs where apps run, it uses only the standard library, and must not import anything from
the gateway.
"""
