"""Sign-ins in the store: passes, logins of machines and keys, passkeys, and accounts at providers."""
