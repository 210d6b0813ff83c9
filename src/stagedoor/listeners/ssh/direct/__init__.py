"""Direct login: SSH ends at the gateway and goes on to the shell."""
