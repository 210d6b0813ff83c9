"""Direct login: SSH ends at the gateway, and a second SSH connection goes on to the shell."""
