"""The installation's certificate authorities, what they sign for people, and what was revoked."""
