"""The gateway as a client of OpenID Connect. Pure, except for `client`, which sends requests through a port.

Sources: OpenID Connect Core 1.0 and Discovery 1.0, RFC 6749, RFC 7636 (PKCE), RFC 9207 (issuer in the
response), RFC 7519 (JWT).
"""
