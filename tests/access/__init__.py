"""Access on request: the rules, the store's functions, and real clients that wait."""
