"""`ssh NAME@gateway request`: ask for access, wait, and decide on requests, with OpenSSH alone."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stagedoor.admin.requests.access_requests import RequestRecord
from stagedoor.admin.requests.request_service import RequestService, describe_end
from stagedoor.listeners.ssh.login import SshLogin
from stagedoor.model.access_request import AccessRequest, RequestState, show_period
from stagedoor.model.denial import Denial
from stagedoor.model.permission import ENTERING, Permission, Permissions, parse_permissions
from stagedoor.model.selector import parse_target_pattern
from stagedoor.model.target import Target
from stagedoor.session.access_request import ACCESS_WAIT_S
from stagedoor.wire.duration import parse_duration, parse_start
from stagedoor.wire.rfc3339 import show_time
from stagedoor.wire.target import parse_login

HELP = """\
  ssh {at} request                        requests that are open: yours, and those that you decide on
  ssh {at} request APP [--for 1h] REASON  ask for access, and wait for the decision
  ssh {at} request APP --from 2h REASON   ask for later, or 2026-12-31T09:00:00Z
  ssh {at} request show NUMBER            a request with its decisions
  ssh {at} request approve NUMBER [--for 30m]
  ssh {at} request deny NUMBER [WHY]
  ssh {at} request withdraw NUMBER        take a request back, or give back what was approved
  ssh {at} request APP --allow forward REASON  ask for a permission that you lack, such as ssh -L
  ssh {at} request APP --break-glass REASON  enter at once in an emergency, where a rule allows it
  ssh {at} request review NUMBER          confirm that you have looked at a use of break-glass
"""
_WRONG_USE = 2
_REFUSED = 1
Answer = tuple[str, str, int]
"""The stdout, the stderr and the exit status."""


class RequestCommand:
    """One execution of the command for one login. `show` shows a line on stderr at once."""

    def __init__(
        self, login: SshLogin, requests: RequestService, show: Callable[[str], None]
    ) -> None:
        self._login = login
        self._requests = requests
        self._show = show

    async def run(self, words: Sequence[str]) -> Answer:
        """Run `request` with the words that follow it."""
        match words:
            case [] | ["list"]:
                return await self._list()
            case ["show", number] if (id_ := _number(number)) is not None:
                return self._answer(await self._requests.read(self._login.identity, id_))
            case ["approve", number, *rest] if (id_ := _number(number)) is not None:
                return await self._approve(id_, rest)
            case ["deny", number, *why] if (id_ := _number(number)) is not None:
                denied = await self._requests.decide(
                    self._login.identity, id_, is_yes=False, note=" ".join(why)
                )
                return self._answer(denied)
            case ["withdraw", number] if (id_ := _number(number)) is not None:
                return self._answer(await self._requests.leave(self._login.identity, id_))
            case ["review", number] if (id_ := _number(number)) is not None:
                return self._answer(await self._requests.review(self._login.identity, id_))
            case ["show" | "approve" | "deny" | "withdraw" | "review", *_]:
                return _refuse("name a request by its number", _WRONG_USE)
            case [app, *rest]:
                return await self._ask(app, rest)
        raise AssertionError("the cases above are all that a list can be")

    # Asking.

    async def _ask(self, app: str, words: list[str]) -> Answer:
        options = _options(words, self._login.flow.now())
        if isinstance(options, str):
            return _refuse(options, _WRONG_USE)
        targets = self._targets(app)
        if not targets:
            return _refuse(f"{app[:100]!r} is not an app that you may ask for", _WRONG_USE)
        request = await self._requests.make(
            self._login.identity,
            targets,
            options.reason,
            options.lasts_s,
            needs=options.needs,
            break_glass=options.break_glass,
            starts_at=options.starts_at,
        )
        if isinstance(request, Denial):
            return _refuse(request.line)
        rule = self._requests.offers.find_rule_of(request)
        if request.state is RequestState.PENDING:
            waits = "" if rule is None else f" waits for {rule.deciders}"
            if (page := self._requests.offers.get_page(request)) is not None:
                waits += f" ({page})"
            self._show(
                f"stagedoor: request {request.id} for {request.apps}{waits}; Ctrl-C leaves it open"
            )
            await self._wait(request.id)
        record = await self._requests.read(self._login.identity, request.id)
        if isinstance(record, Denial):
            return _refuse(record.line)
        line = describe_end(record, self._login.flow.now())
        is_approved = record.request.state is RequestState.APPROVED
        return (f"{line}\n", "", 0) if is_approved else _refuse(line)

    def _targets(self, app: str) -> list[Target]:
        """Return the app that `app` names, or the existing apps that match it as a pattern."""
        target = parse_login(app)
        if target is not None:
            return [target]
        pattern = parse_target_pattern(app)
        return (
            []
            if pattern is None
            else self._requests.offers.find_apps(self._login.identity, pattern)
        )

    async def _wait(self, number: int) -> None:
        """Wait until the request is no longer pending, at most `ACCESS_WAIT_S`."""
        policy, clock = self._login.flow.policy, asyncio.get_running_loop().time
        until = clock() + ACCESS_WAIT_S
        with self._requests.count_waiting(self._login.identity) as has_room:
            await policy.read_newer_than(policy.version)
            while has_room and clock() < until:
                version, request = policy.version, self._requests.offers.find(number)
                now = self._login.flow.now()
                if request is None or request.find_state(now) is not RequestState.PENDING:
                    return
                await policy.wait_for_change(version, min(until - clock(), request.ends_at - now))

    # Deciding.

    async def _approve(self, number: int, words: list[str]) -> Answer:
        options = _options(words, self._login.flow.now())
        if isinstance(options, str) or options != _Options(options.lasts_s):
            return _refuse("approve takes a number, and --for with a time", _WRONG_USE)
        lasts_s, identity = options.lasts_s, self._login.identity
        return self._answer(
            await self._requests.decide(identity, number, is_yes=True, lasts_s=lasts_s)
        )

    async def _list(self) -> Answer:
        requests = await self._requests.list_requests(self._login.identity)
        if isinstance(requests, Denial):
            return _refuse(requests.line)
        now = self._login.flow.now()
        lines = [describe_request(request, now) for request in requests]
        return "\n".join([*(lines or ["No request is open."]), ""]), "", 0

    def _answer(self, result: AccessRequest | RequestRecord | Denial) -> Answer:
        now = self._login.flow.now()
        match result:
            case Denial():
                return _refuse(result.line)
            case RequestRecord(request, decisions):
                lines = [describe_request(request, now)]
                lines += [
                    f"  {decision.approver} {'agreed' if decision.is_yes else 'refused'} at "
                    f"{show_time(decision.at)} {decision.note}".rstrip()
                    for decision in decisions
                ]
                return "\n".join([*lines, ""]), "", 0
            case AccessRequest():
                return f"{describe_request(result, now)}\n", "", 0


def describe_request(request: AccessRequest, now: float) -> str:
    """Return the line that describes a request in lists."""
    by = "break-glass, " if request.is_break_glass else ""
    if request.needs_review:
        by += "not reviewed yet, "
    start = f" from {show_time(request.starts_at)}" if request.starts_at is not None else ""
    return (
        f"{request.id}  {request.find_state(now)}  {request.user}  {request.apps}  "
        f"{by}{show_period(request.lasts_s)}{start}  {request.reason}"
    )


def _number(word: str) -> int | None:
    return int(word) if word.isascii() and word.isdigit() and len(word) < 10 else None


@dataclass(slots=True)
class _Options:
    """The options of a request, and the words that remain, which are its reason."""

    lasts_s: float | None = None
    starts_at: float | None = None
    needs: Permissions = ENTERING
    break_glass: bool = False
    reason: str = ""


def _options(words: list[str], now: float) -> _Options | str:
    """Parse the options among `words`. Return a line for the user if one is wrong."""
    options, rest, left = _Options(), [], iter(words)
    for word in left:
        if word == "--break-glass":
            options.break_glass = True
        elif word == "--for":
            options.lasts_s = parse_duration(next(left, ""))
            if options.lasts_s is None:
                return "--for takes a time such as 30m or 2h"
        elif word == "--from":
            options.starts_at = parse_start(next(left, ""), now)
            if options.starts_at is None:
                return "--from takes a time such as 2h or 2026-12-31T09:00:00Z"
        elif word == "--allow":
            try:
                options.needs |= parse_permissions([next(left, "")])
            except ValueError:
                return f"--allow takes one of {', '.join(Permission)}"
        else:
            rest.append(word)
    options.reason = " ".join(rest)
    return options


def _refuse(line: str, status: int = _REFUSED) -> Answer:
    return "", f"stagedoor: {line}\n", status
