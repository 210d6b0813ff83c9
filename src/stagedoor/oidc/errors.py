"""Errors of identity providers, by their meaning for the sign-in."""


class OidcError(Exception):
    """The sign-in is refused. The message is one line for the administrator's log, without secrets.

    The person who signs in sees less of it, because the text may come from an attacker.
    """


class UnavailableError(OidcError):
    """The provider does not answer, or reports that it cannot. Nothing is known, so sign-ins continue."""


class SignInDeniedError(OidcError):
    """The person, or a rule of the provider, denied the sign-in."""


class GrantEndedError(OidcError):
    """A refresh token is no longer valid (`invalid_grant`, RFC 6749 §5.2): the sign-in ends."""


class RefusedRequestError(OidcError):
    """The token endpoint refused the request with an OAuth error that does not concern the client (4xx).

    RFC 6749 §5.2 defines `invalid_grant` for a refresh token that is no longer valid; several providers
    return `invalid_request` instead.
    """


class FailedRequestError(UnavailableError):
    """The token endpoint failed (5xx) with an OAuth error.

    It has read the request, so the failure may concern this person alone.
    """


class UnknownKeyError(OidcError):
    """A token names an unknown key: the provider may have rotated its keys."""
