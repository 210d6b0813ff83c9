"""Who is at which terminal, how many may be, and shares of one."""
