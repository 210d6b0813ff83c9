"""Sign-ins on the web: by password, link, passkey or identity provider, and how they end."""
