"""Sign-ins on the web: by password, by link, at an identity provider, and their ends."""
