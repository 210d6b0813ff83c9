"""Direct login: SSH ends at the gateway, and a second SSH connection leads to the shell."""
