"""What the store has of sign-ins: passes, logins of machines and keys, identities at providers."""
