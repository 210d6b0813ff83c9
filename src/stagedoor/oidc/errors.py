"""What can go wrong with an identity provider, by what it means for the sign-in."""


class OidcError(Exception):
    """The sign-in is refused. The message is one line for the administrator's log, with no secret in it.

    The person who signs in is told less: it may have come from an attacker.
    """


class UnavailableError(OidcError):
    """The provider does not answer, or answers that it cannot: nothing is known, and nothing ends."""


class SignInDeniedError(OidcError):
    """The person, or the provider's rules, said no."""


class GrantEndedError(OidcError):
    """A refresh token is not good any more (`invalid_grant`, RFC 6749 §5.2): the sign-in ends."""


class RefusedRequestError(OidcError):
    """The token endpoint refuses this request by an OAuth error that is not about the client (4xx).

    RFC 6749 §5.2 has `invalid_grant` for a refresh token that is not good any more; several providers answer
    `invalid_request` instead.
    """


class FailedRequestError(UnavailableError):
    """The token endpoint fails (5xx), and names an OAuth error: it has read the request, and may have failed
    for this person alone."""


class UnknownKeyError(OidcError):
    """A token names a key that is not among those known: they may have been rotated."""
