"""Opening a tunnel: the credential, the attempts, and the errors for refusals."""

from __future__ import annotations

import os
import time

from stagedoor.laptop.tunnel.address import join_authority
from stagedoor.laptop.tunnel.connect import ReasonPromptError, ask, encode_reason
from stagedoor.laptop.tunnel.errors import (
    BUSY,
    CREDENTIAL,
    FORBIDDEN,
    LOST,
    NO_SHELL,
    REFUSED,
    START_TIMEOUT,
    TunnelError,
    show,
)
from stagedoor.laptop.tunnel.reach import reach
from stagedoor.laptop.tunnel.secret import find_secret, find_token_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stagedoor.laptop.tunnel.http import HttpAnswer
    from stagedoor.laptop.tunnel.options import Options
    from stagedoor.laptop.tunnel.secret import Secret
    from stagedoor.laptop.tunnel.wire import TcpWire, Watch

TRIES = 3  # after 429 and 503, and at a prompt
LONGEST_RETRY_S = 30.0  # report a longer Retry-After as an error
RETURN_TIMEOUT_S = 10.0  # short, since no shell has to start


class TunnelKey:
    """The key of a resumable tunnel, and the number of its next connection (`wire.tunnel`)."""

    def __init__(self) -> None:
        self.key = os.urandom(16).hex()
        self.attempt = 0
        self.secret: Secret | None = None  # the one that the gateway accepted
        self.watch: Watch | None = None  # called while a reconnect waits

    def encode(self) -> str:
        """Return the header line of a request."""
        return f"Stagedoor-Resume: 1 {self.key} {self.attempt}\r\n"


def open_tunnel(options: Options, tunnel: TunnelKey | None = None) -> TcpWire:
    """Open a tunnel to the target, and return the wire that carries its bytes. Raises TunnelError.

    If `tunnel` was open before, resume it, without any prompt or message. If the wire `is_resumable`, it
    carries frames instead.
    """
    is_reconnect = tunnel is not None and tunnel.attempt > 0
    target = join_authority(options.host, options.port)
    secret = tunnel.secret if tunnel is not None and is_reconnect else find_secret(options)
    refusals = busy = 0
    reason, may_ask_reason = options.env.get("STAGEDOOR_REASON", ""), not is_reconnect
    timeout_s = min(RETURN_TIMEOUT_S, options.timeout_s) if is_reconnect else options.timeout_s
    deadline = time.monotonic() + timeout_s
    while True:
        wire = reach(options, None if tunnel is None else tunnel.watch)
        wire.shown_target = "" if is_reconnect else target
        wire.may_ask_reason = may_ask_reason and not reason
        fields = (tunnel.encode() if tunnel else "") + (encode_reason(reason) if reason else "")
        credential = None if secret is None else f"{options.user}:{secret.value}"
        try:
            answer = ask(wire, target, credential, deadline, fields)
        except ReasonPromptError as prompt:
            from stagedoor.laptop.tunnel.prompt import ask_reason

            wire.sock.close()
            reason, may_ask_reason = ask_reason(target, str(prompt)), False
            deadline = time.monotonic() + options.timeout_s
            continue
        except BaseException:
            wire.sock.close()
            raise
        if answer.is_success:
            wire.is_resumable = answer.fields.get("stagedoor-resume") == "1"
            wire.session = answer.fields.get("stagedoor-session", "")
            if tunnel is not None:
                tunnel.secret = secret
            if not is_reconnect:
                warn_of_expiry(answer.fields.get("stagedoor-token-ends", ""))
            return wire
        wire.sock.close()
        if answer.status == 407:
            if is_reconnect:
                other = find_changed_secret(options, secret, refusals)
            else:
                other = ask_again(options, secret, refusals, answer.reason)
            refusals += 1
            if other is not None:
                secret, deadline = other, time.monotonic() + timeout_s  # typing takes time
                continue
        is_busy = answer.status in (429, 503) and not is_reconnect
        busy += is_busy
        if not (is_busy and busy < TRIES and wait_to_retry(answer, busy, deadline)):
            raise make_refusal_error(options, answer, secret)


def ask_again(
    options: Options, refused: Secret | None, refusals: int, reason: str
) -> Secret | None:
    """Ask the developer for a credential after a refusal. Return None if that is over, or not possible.

    A `refused` credential from another source is not asked for. `refusals` counts the earlier refusals.
    """
    if refusals == TRIES or (refused is not None and not refusals):
        return None
    from stagedoor.laptop.tunnel.prompt import ask_person

    return ask_person(options, reason if refusals else "")


def find_changed_secret(options: Options, refused: Secret | None, refusals: int) -> Secret | None:
    """Look the credential up again, once. Return None if it is still the `refused` one."""
    secret = None if refusals else find_secret(options)
    is_same = secret is None or (refused is not None and secret.value == refused.value)
    return None if is_same else secret


def wait_to_retry(answer: HttpAnswer, tries: int, deadline: float) -> bool:
    """Wait for as long as a busy gateway requests. Return False at once if that is too long."""
    pause_s = parse_retry_after(answer, tries)
    if pause_s > min(LONGEST_RETRY_S, deadline - time.monotonic()):
        return False
    if os.isatty(2):  # a log gets only the final error
        show(f"stagedoor: {answer.reason}; trying again in {pause_s:.0f} s\n")
    time.sleep(pause_s)
    return True


def warn_of_expiry(ends: str) -> None:
    """Warn on a terminal that the token expires at `ends`, in seconds since the epoch."""
    if not (ends.isascii() and ends.isdigit() and len(ends) < 12 and os.isatty(2)):
        return
    left_s = int(ends) - time.time()
    left = (
        f"{left_s / 86400:.0f} days" if left_s > 2 * 86400 else f"{max(0.0, left_s) / 3600:.0f} h"
    )
    show(
        f"stagedoor: your token expires in {left}; make another on your account's page, or ask for one\n"
    )


def parse_retry_after(answer: HttpAnswer, tries: int) -> float:
    """Return Retry-After (RFC 9110 §10.2.3: seconds or a date) in seconds, or `tries` if it is missing."""
    text = answer.fields.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return float(text[:9])
    if text:
        from email.utils import parsedate_to_datetime

        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
        except (TypeError, ValueError, IndexError, OverflowError):
            pass  # ignore an invalid date
    return float(tries)


def make_refusal_error(options: Options, answer: HttpAnswer, secret: Secret | None) -> TunnelError:
    """Return the error for a refusal. Its line names the target, the reason and the fix."""
    status, reason = answer.status, answer.reason or "no reason given"
    place = f"the gateway {options.gateway}"
    target = join_authority(options.host, options.port)
    if status == 407 and secret is None:
        fix = f"put your token into {find_token_file(options.env)} (mode 0600)"
        line = f"{place} requires a credential for {options.user}, and none was found: {reason}; fix: {fix}"
        return TunnelError(CREDENTIAL, line)
    if status == 407 and secret is not None:
        line = f"{place} refused the credential of {options.user} from {secret.source}: {reason}"
        return TunnelError(CREDENTIAL, f"{line}; {secret.fix}")
    if status == 403:
        return TunnelError(FORBIDDEN, f"{target} is not open to {options.user}: {reason}")
    if status == 404:
        return TunnelError(NO_SHELL, f"{target} does not exist: {reason}; check its name")
    if status == 502:
        fix = "try again, which starts it if it has stopped"
        return TunnelError(NO_SHELL, f"the shell of {target} does not answer: {reason}; {fix}")
    if status == 410:
        return TunnelError(LOST, f"{target} cannot be resumed: {reason}")
    if status in (429, 503):
        wait_s = parse_retry_after(answer, TRIES)
        line = f"{target} cannot be entered now ({status}): {reason}; try again in {wait_s:.0f} s"
        return TunnelError(BUSY, line, wait_s)
    if status == 504:
        fix = "try again: the shell is still starting"
        return TunnelError(START_TIMEOUT, f"{target} did not answer in time: {reason}; {fix}")
    return TunnelError(REFUSED, f"{place} refused {target}: {status} {reason}")
