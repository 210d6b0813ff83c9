"""A refusal, as a value: what happened, to whom, and what would change it."""

from dataclasses import dataclass, field
from enum import StrEnum


class Reason(StrEnum):
    """Why somebody was not let in. A listener turns it into its protocol's own number."""

    BAD_REQUEST = "bad_request"
    HEADER_TOO_LARGE = "header_too_large"
    HEADER_TIMEOUT = "header_timeout"
    TARGET_NOT_ALLOWED = "target_not_allowed"
    SOURCE_NOT_ALLOWED = "source_not_allowed"
    CREDENTIAL_MISSING = "credential_missing"
    CREDENTIAL_WRONG = "credential_wrong"
    THROTTLED = "throttled"
    NO_GRANT = "no_grant"
    STEP_UP_NEEDED = "step_up_needed"
    NO_APP = "no_app"
    SHELL_UNAVAILABLE = "shell_unavailable"
    START_TIMEOUT = "start_timeout"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    UPSTREAM_REFUSED = "upstream_refused"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    AUDIT_UNAVAILABLE = "audit_unavailable"
    DRAINING = "draining"
    OVERLOADED = "overloaded"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Denial:
    """`message` is one line that a person understands and that holds no secret.

    `retry_after_s` is set where trying again later can help. `told` is what the person reads instead: where
    `message` names what an administrator can do, and where the person's line must not be written down.
    """

    reason: Reason
    message: str
    retry_after_s: int | None = None
    told: str | None = field(default=None, repr=False)

    @classmethod
    def internal(cls) -> "Denial":
        """Return the refusal for a bug in the gateway, which only its log explains."""
        return cls(Reason.INTERNAL, "a fault in the gateway; its log has more")

    @classmethod
    def with_mend(cls, reason: Reason, what: str, mend: str, advice: str) -> "Denial":
        """Return a refusal that an administrator can lift by `mend`: a command, or a setting.

        The log, the audit and an administrator's commands show `mend`. The person who is refused reads
        `advice`: what they can do themselves.
        """
        return cls(reason, f"{what} ({mend})", told=f"{what}; {advice}")

    @property
    def line(self) -> str:
        """The line for the person who is refused."""
        return self.told or self.message


UNREAD = Denial(
    Reason.AUDIT_UNAVAILABLE,
    "nobody can be let in now: the gateway cannot read who may enter; its log says why",
    retry_after_s=5,
)
"""While the store is out of reach for too long. Who asks is not known, so where the store is is none of
their business."""
