"""Who may enter a target now, as its shell needs to know it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Admission:
    """A user that some rule lets in. Made by `authz.admitted` only.

    `public_keys` are registered keys, each `type base64`; `bound_keys` those of sign-ins that last, each with
    the end of its sign-in; `revoked` are the numbers (`model.identity.SignIn.number`) of those that are over,
    while a certificate that was given to them is still good; `expires_at` is when the rule ends. Times are
    seconds since the epoch, None for no end. `prefix` stands before the name in certificates of the user CA.
    """

    name: str
    public_keys: tuple[str, ...] = ()
    expires_at: float | None = None
    bound_keys: tuple[tuple[str, float], ...] = ()
    revoked: tuple[int, ...] = ()
    prefix: str = ""

    @property
    def principal(self) -> str:
        return self.prefix + self.name
