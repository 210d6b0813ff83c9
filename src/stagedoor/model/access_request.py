"""Access requests: the rules by which users ask for access for a time, and the states of a request. Pure.

    PENDING  -> APPROVED   by as many approvers as the rule requires; at once if it requires none
    PENDING  -> DENIED     by one approver
    PENDING  -> WITHDRAWN  by the requester
    PENDING  -> LAPSED     after `REQUEST_PENDING_S`
    APPROVED -> ENDED      by the requester or an administrator, or when its time is over

The time of an approved request counts from the first entry; unused, it ends after `UNUSED_S`. It may be for a
later time, and permits nothing before. An approved request is not enough: each time, `authz` also checks
whether its rule would still let the user ask.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from math import inf

from stagedoor.model.errors import RefusedError
from stagedoor.model.hours import Hours
from stagedoor.model.permission import DEFAULT, ENTERING, Permissions
from stagedoor.model.selector import TargetPattern
from stagedoor.model.target import Target
from stagedoor.model.units import DAY_S, HOUR_S, MINUTE_S

REQUEST_PENDING_S = float(HOUR_S)
"""How long a request waits for its approvers."""
UNUSED_S = 8.0 * HOUR_S
"""How long an approved request waits for the first entry: a working day."""
USUAL_S = float(HOUR_S)
"""How long access lasts if the request does not say, and the rule allows it."""
LONGEST_S = 7.0 * DAY_S
LATEST_START_S = 7.0 * DAY_S
"""How far ahead access may begin."""
LONGEST_BREAK_GLASS_S = 30.0 * MINUTE_S
MAX_TARGETS = 50
"""The most apps of one request, since an approver reads all of them."""
MAX_PENDING = 5
"""The most pending requests of one user."""
MAX_PER_HOUR = 20
"""The most requests of one user in an hour, whatever their state."""
MAX_PENDING_TOTAL = 1000
"""The most pending requests of all users together."""
MAX_REASON_CHARS = 300


class RequestState(StrEnum):
    """The states of a request."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    WITHDRAWN = "withdrawn"
    LAPSED = "lapsed"
    ENDED = "ended"


AFTER_END = {
    RequestState.PENDING: RequestState.LAPSED,
    RequestState.APPROVED: RequestState.ENDED,
}
"""The states that change by time alone, at `AccessRequest.ends_at`, and what they become."""


@dataclass(frozen=True, slots=True)
class RequestRule:
    """A rule of the policy: who may ask for which access, and who decides.

    `subject` and the patterns are as in `model.grant.GrantRule`. `permissions` are those that an approved
    request gives, for `longest_s` seconds at most. `approvers` are subjects; `approvals` different users
    among them must agree, and 0 approves at once. `later_approvers` decide too once a request has waited for
    `later_s` seconds. The reason must match `reason_pattern`, a shell glob.

    A rule that `is_break_glass` applies only to requests for break-glass, approves at once, and requires an
    approver to review each use. With `needs_step_up`, approvers give a fresh proof of identity before they
    decide. Outside of `hours`, users cannot ask by the rule, and access that it gave ends. `access_set` is
    the access set that the rule belongs to (`model.access_set`), if any.
    """

    id: int
    subject: str
    app_pattern: str
    environment_pattern: str = "*"
    permissions: Permissions = DEFAULT
    longest_s: float = USUAL_S
    approvers: tuple[str, ...] = ()
    approvals: int = 1
    reason_pattern: str = "*"
    is_break_glass: bool = False
    needs_step_up: bool = False
    hours: Hours | None = None
    later_approvers: tuple[str, ...] = ()
    later_s: float = 0.0
    access_set: str | None = field(default=None, compare=False)

    def covers(self, subjects: Collection[str], target: Target) -> bool:
        """Return True if a user with these subjects may ask for `target`."""
        return self.subject in subjects and self.pattern.covers(target)

    @property
    def pattern(self) -> TargetPattern:
        """Return the apps that the rule is for."""
        return TargetPattern(self.app_pattern, self.environment_pattern)

    def find_end(self, now: float) -> float | None:
        """Return when the current hours of the rule end: infinity if it has none, None outside of them."""
        return inf if self.hours is None else self.hours.find_end(now)

    def may_decide(self, subjects: Collection[str], waited_s: float = inf) -> bool:
        """Return True if a user with these subjects decides on a request that has waited `waited_s`."""
        later = self.later_approvers if waited_s >= self.later_s else ()
        return not frozenset(self.approvers + later).isdisjoint(subjects)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Return all users and groups that the rule names."""
        return (self.subject, *self.approvers, *self.later_approvers)

    @property
    def deciders(self) -> str:
        """Describe the approvers, as `describe_deciders` does."""
        later = self.later_approvers, self.later_s
        return describe_deciders(self.approvals, self.approvers, *later, self.is_break_glass)


def describe_deciders(
    approvals: int,
    approvers: Iterable[str],
    later: Iterable[str],
    later_s: float,
    is_break_glass: bool,
) -> str:
    """Describe the approvers: `group:sre`, `2 of group:sre, and group:leads after 15 min`."""
    names = ", ".join(approvers)
    if is_break_glass:
        return f"break-glass, reviewed by {names}"
    if approvals == 0:
        return "approved at once"
    if then := ", ".join(later):
        names += f", and {then} after {show_period(later_s)}"
    return f"{approvals} of {names}" if approvals > 1 else names


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """A request of `user` for `targets` by the rule with the number `rule`, which may no longer exist.

    `accounts` are digests of the requester's accounts at identity providers. `lasts_s` is the requested or
    the approved duration. `ends_at` is when a pending request lapses or an approved one ends. `starts_at` is
    when access begins; None: with the approval. `began_at` is the first entry. `reviewed_by` is the approver
    who reviewed a use of break-glass. Times are seconds since the epoch.
    """

    id: int
    user: str
    targets: tuple[Target, ...]
    permissions: Permissions
    rule: int
    reason: str
    lasts_s: float
    created_at: float
    ends_at: float
    accounts: frozenset[str] = field(default=frozenset(), repr=False)
    is_break_glass: bool = False
    state: RequestState = RequestState.PENDING
    began_at: float | None = None
    reviewed_by: str | None = None
    starts_at: float | None = None

    def is_later(self, now: float) -> bool:
        """Return True if its access begins after `now`."""
        return self.starts_at is not None and now < self.starts_at

    def find_state(self, now: float) -> RequestState:
        """Return the state at `now`."""
        return self.state if now < self.ends_at else AFTER_END.get(self.state, self.state)

    @property
    def needs_review(self) -> bool:
        """Return True for a use of break-glass, over or not, that no approver has reviewed."""
        return self.is_break_glass and self.reviewed_by is None

    @property
    def apps(self) -> str:
        """Return the apps as users name them, separated by commas."""
        return ", ".join(target.login_name for target in self.targets)


@dataclass(frozen=True, slots=True)
class Decision:
    """One approver's yes or no. `lasts_s` shortens the requested time, unless it is None."""

    approver: str
    at: float
    is_yes: bool
    lasts_s: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """The answer to a user who may not enter `target` and may ask for it.

    `request` is the user's pending request for it, None if there is none yet, and `page` its URL, None
    without one; it lapses in `left_s` seconds. `where` is how to ask: a URL, or an ssh command. `later` is an
    approved request of theirs whose access begins later.
    """

    rule: RequestRule
    target: Target
    where: str
    request: AccessRequest | None = None
    page: str | None = None
    later: AccessRequest | None = None
    left_s: float = inf

    @property
    def line(self) -> str:
        """Return the line for the user."""
        rule = self.rule
        decides = rule.deciders if rule.approvals == 0 else f"{rule.deciders} decides"
        return (
            f"{self.target.login_name} is open on request "
            f"({show_period(rule.longest_s)} at most; {decides})"
        )


def find_rule(
    rules: Iterable[RequestRule],
    subjects: Collection[str],
    targets: Sequence[Target],
    needs: Permissions = ENTERING,
    *,
    now: float,
    break_glass: bool = False,
) -> RequestRule | None:
    """Return the rule by which a user may ask for all of `targets` with `needs` at `now`, or None.

    Of several rules, return the one with the fewest approvals, then the longest.
    """
    fitting = [
        rule
        for rule in rules
        if rule.is_break_glass == break_glass
        and needs <= rule.permissions
        and rule.find_end(now) is not None
        and all(rule.covers(subjects, target) for target in targets)
    ]
    return min(fitting, key=lambda rule: (rule.approvals, -rule.longest_s, rule.id), default=None)


def check_reason(reason: str, pattern: str) -> str:
    """Return a reason without surrounding blanks. Raises RefusedError if it is not acceptable.

    Approvers read it in terminals, pages and chats, so it may have no control characters and none that change
    the direction of text.
    """
    reason = reason.strip()
    if not reason:
        raise RefusedError("give a reason; the approvers read it")
    if len(reason) > MAX_REASON_CHARS:
        raise RefusedError(f"a reason has {MAX_REASON_CHARS} characters at most")
    if not reason.isprintable():
        raise RefusedError("a reason holds no control characters and no marks of text direction")
    if not fnmatchcase(reason, pattern):
        raise RefusedError(f"the reason must match {pattern!r}")
    return reason


def check_time(rule: RequestRule, wanted_s: float | None) -> float:
    """Return how long access lasts, in seconds. Raises RefusedError if the rule does not allow it."""
    if wanted_s is None:
        return min(USUAL_S, rule.longest_s)
    if not 0 < wanted_s <= rule.longest_s:
        raise RefusedError(f"at most {show_period(rule.longest_s)} may be asked for here")
    return wanted_s


def check_start(rule: RequestRule, starts_at: float | None, now: float) -> float | None:
    """Return when access begins, or None for a past time. Raises RefusedError if the rule forbids it."""
    if starts_at is None or starts_at <= now:
        return None
    if rule.is_break_glass:
        raise RefusedError("break-glass is for an emergency, and begins at once")
    if starts_at > now + LATEST_START_S:
        raise RefusedError(f"access begins within {show_period(LATEST_START_S)}, not later")
    return starts_at


def judge(
    request: AccessRequest,
    rule: RequestRule,
    decisions: Sequence[Decision],
    is_approver: Callable[[str], bool],
    now: float,
) -> AccessRequest:
    """Return a pending request after `decisions`, of which only those of current approvers count.

    `is_approver` returns whether a user may decide now: a decision no longer counts when its user leaves the
    approvers' group.
    """
    counted = {d.approver: d for d in decisions if is_approver(d.approver)}
    if not all(decision.is_yes for decision in counted.values()):
        return replace(request, state=RequestState.DENIED)
    if len(counted) < rule.approvals:
        return request
    shorter = [d.lasts_s for d in counted.values() if d.lasts_s is not None]
    return approve(request, min([request.lasts_s, *shorter]), now)


def approve(request: AccessRequest, lasts_s: float, now: float) -> AccessRequest:
    """Return the request as approved for `lasts_s`, which begin with the first entry."""
    ends_at = max(now, request.starts_at or now) + UNUSED_S
    return replace(request, state=RequestState.APPROVED, lasts_s=lasts_s, ends_at=ends_at)


def begin(request: AccessRequest, now: float) -> AccessRequest:
    """Return an approved request after the first entry at `now`; later entries change nothing."""
    is_open = request.find_state(now) is RequestState.APPROVED and not request.is_later(now)
    if request.began_at is not None or not is_open:
        return request
    return replace(request, began_at=now, ends_at=now + request.lasts_s)


def follow(request: AccessRequest, others: Iterable[AccessRequest], now: float) -> AccessRequest:
    """Return an approved request whose time begins when that of another for the same app ends.

    So access is extended without a gap. `others` are requests of the same user. A request with a start time
    is returned unchanged. Raises RefusedError if the access is already extended.
    """
    if request.starts_at is not None:
        return request
    running = [
        other
        for other in others
        if other.id != request.id
        and other.began_at is not None
        and other.find_state(now) is RequestState.APPROVED
        and not set(other.targets).isdisjoint(request.targets)
    ]
    if any(other.began_at is not None and other.began_at > now for other in running):
        raise RefusedError("this access is extended already")
    if not running:
        return request
    at = max(other.ends_at for other in running)
    return replace(request, began_at=at, ends_at=at + request.lasts_s)


def end(request: AccessRequest, now: float) -> AccessRequest:
    """Return the request as withdrawn or ended by its user. Raises RefusedError if it is over."""
    match request.find_state(now):
        case RequestState.PENDING:
            return replace(request, state=RequestState.WITHDRAWN)
        case RequestState.APPROVED:
            return replace(request, state=RequestState.ENDED, ends_at=now)
    raise RefusedError(explain_over(request, now))


def explain_over(request: AccessRequest, now: float) -> str:
    """Return a line about a request that is not pending."""
    state = request.find_state(now)
    if state is RequestState.LAPSED:
        return f"request {request.id} has lapsed: no approver decided within {show_period(REQUEST_PENDING_S)}"
    return f"request {request.id} is {state} already"


def explain_own(request: AccessRequest) -> str:
    """Return the refusal of a decision by the person who asked."""
    return f"request {request.id} is your own; another approver decides"


def show_period(seconds: float) -> str:
    """Format a duration for people: `90 min`, `2 h`, `7 d`."""
    for unit, name in ((DAY_S, "d"), (HOUR_S, "h")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / MINUTE_S:.3g} min"
