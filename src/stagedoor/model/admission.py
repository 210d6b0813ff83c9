"""Who may enter a target now, as its shell needs to know it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Admission:
    """A user whom some rule lets in. Made by `authz.admitted` only.

    `public_keys` are his registered keys, each `type base64`; `expires_at` is when the rule ends,
    seconds since the epoch, None if it does not.
    """

    name: str
    public_keys: tuple[str, ...] = ()
    expires_at: float | None = None
