"""The users at each terminal, the limits on their number, and shares of terminals."""
