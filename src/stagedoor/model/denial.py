"""Refusals as values: what is refused, why, and what would change it."""

from dataclasses import dataclass, field
from enum import StrEnum


class Reason(StrEnum):
    """The reasons for a refusal. Each listener maps them to the codes of its protocol."""

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
    SESSION_OVER = "session_over"
    """The session that a client wants to resume has ended or belongs to another user."""
    RUN_LIMIT = "run_limit"
    """A limit or a lock has no room for a run now."""
    AUDIT_UNAVAILABLE = "audit_unavailable"
    """The store cannot be written, or has been unreadable for too long."""
    DRAINING = "draining"
    OVERLOADED = "overloaded"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Denial:
    """A refusal. `message` is one line for people, without secrets.

    `retry_after_s` is set where a retry can help later. `person_message` replaces `message` for the refused
    user if `message` names an administrator's command, or if the user's line must not be logged.
    """

    reason: Reason
    message: str
    retry_after_s: int | None = None
    person_message: str | None = field(default=None, repr=False)

    @classmethod
    def of_fault(cls) -> "Denial":
        """Return the refusal for a bug in the gateway; only the log has its details."""
        return cls(Reason.INTERNAL, "a fault in the gateway; its log has more")

    @classmethod
    def with_fix(
        cls,
        reason: Reason,
        what: str,
        fix: str,
        advice: str = "",
        retry_after_s: int | None = None,
    ) -> "Denial":
        """Return a refusal that an administrator can lift by `fix`: a command, or a setting.

        `fix` appears in the log, in the audit and in administrators' commands. The refused user reads
        `advice` instead, if there is any, on what users can do themselves.
        """
        line = f"{what}; {advice}" if advice else what
        return cls(reason, f"{what} ({fix})", retry_after_s, person_message=line)

    @property
    def line(self) -> str:
        """Return the line to show to the person who is refused."""
        return self.person_message or self.message


POLICY_UNAVAILABLE = Denial(
    Reason.AUDIT_UNAVAILABLE,
    "all logins are refused for now: the gateway cannot read its policy; its log says why",
    retry_after_s=5,
)
"""The refusal while the store has been unreachable for too long. The client is not identified yet, so the
message does not name the store."""
