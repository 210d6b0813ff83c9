"""The users that a target admits, in the form that its shell needs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Admission:
    """A user who is admitted by at least one rule. Made by `authz.admitted` only.

    `public_keys` are registered keys, each `type base64`. `bound_keys` are the keys of lasting
    sign-ins, each with the end of its sign-in. `revoked` has the numbers
    (`model.identity.SignIn.number`) of sign-ins that are over while a certificate issued to them is
    still valid. `expires_at` is when the rule ends. Times are seconds since the epoch, None for no end.
    `prefix` precedes the name in certificates of the user CA.
    """

    name: str
    public_keys: tuple[str, ...] = ()
    expires_at: float | None = None
    bound_keys: tuple[tuple[str, float], ...] = ()
    revoked: tuple[int, ...] = ()
    prefix: str = ""

    @property
    def principal(self) -> str:
        """Return the principal of the user's certificates."""
        return self.prefix + self.name
