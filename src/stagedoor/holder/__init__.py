"""What keeps a terminal alive inside a shell while clients connect and disconnect.

One process for each terminal, beside its program and never in the gateway: a gateway that is
restarted, or a line that is cut, takes nothing with it. It speaks the terminal protocol
(`wire.terminal`) on a Unix socket; `attach` joins that socket to stdin and stdout, which is how the
gateway comes to it through the shell's sshd. Standard library only, since it runs where apps run;
nothing of the gateway may enter it.
"""
