"""The installation's certificate authorities, the certificates that they sign for users, and revocation."""
