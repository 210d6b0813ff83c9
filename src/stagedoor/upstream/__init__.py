"""The gateway's own SSH connection to a shell, for the access methods that end at the gateway.

Direct login and the WebShell use it; CONNECT and the jump host go through to the shell's sshd
themselves, and the gateway cannot see into them. Nothing of a listener may enter it.
"""
