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


class UnknownKeyError(OidcError):
    """A token names a key that is not among those known: they may have been rotated."""
