"""The API of runs, for `stagedoor run`, CI and pages.

Output is read in pieces from any offset, and a request waits a while for more, so a client that was cut off
continues where it stopped. Input has offsets too, so nothing is sent twice.
"""

import asyncio
import base64
import binascii
import re
import secrets
from collections.abc import Sequence
from dataclasses import replace

from starlette.responses import Response
from starlette.routing import BaseRoute

from stagedoor.listeners.web.errors import answer_refusal
from stagedoor.listeners.web.guard import make_web_login_origin
from stagedoor.listeners.web.post import WAIT_S, Answer, Fields, PostRoutes, read_string
from stagedoor.listeners.web.terminal.fields import read_target
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.run import (
    DEFAULT_TIMEOUT_S,
    MAX_COMMAND_BYTES,
    Output,
    Run,
    RunOrder,
    is_run_id,
)
from stagedoor.model.shell import ProgressStep
from stagedoor.model.source import Source
from stagedoor.session.access_request import answer_with_reason
from stagedoor.session.runs import ID_BYTES, RunService
from stagedoor.wire.run_text import describe_run

READ_BYTES = 32 * 1024
"""The most output in one answer, which base64 makes a third longer."""
MAX_PIECES = 200
COMMAND_CHARS = 120
"""The most characters of a command in a list, since clients read answers of at most 64 KiB."""
MAX_INPUT_BYTES = 32 * 1024
_MAX_BODY_BYTES = 64 * 1024
_MAX_OFFSET = 2**53
"""The largest integer that every JSON parser supports (RFC 8259 §6)."""
_PAUSE_S = 0.1
_NEW_ID = re.compile(r"[0-9a-f]{12}")


class Runs:
    """The routes of runs. Belongs to one event loop."""

    def __init__(self, posts: PostRoutes, runs: RunService) -> None:
        self._flow = posts.guard.flow
        self._runs = runs
        self.routes: list[BaseRoute] = [
            posts.make_route("/api/runs", self._list),
            posts.make_route("/api/runs/start", self._start, max_bytes=4 * MAX_COMMAND_BYTES),
            posts.make_route("/api/runs/log", self._read_log),
            posts.make_route("/api/runs/input", self._feed_input, max_bytes=_MAX_BODY_BYTES),
            posts.make_route("/api/runs/cancel", self._cancel),
        ]

    async def _list(self, identity: Identity, body: Fields, source: Source) -> Answer:
        target = read_target(body) if "target" in body else None
        if isinstance(target, Denial):
            return target
        runs = await self._runs.list_runs(identity, target)
        if isinstance(runs, Denial):
            return runs
        return {"runs": [describe_run(run, COMMAND_CHARS) for run in runs]}

    async def _start(self, identity: Identity, body: Fields, source: Source) -> Answer:
        """Start a run. A request that is repeated with the same `id` does not start it twice.

        A start that takes longer, for a node or an image, continues after the answer.
        """
        order, run_id = _read_order(body), body.get("id")
        if isinstance(order, Denial):
            return self._flow.record_denial(order, make_web_login_origin(source), identity)
        if run_id is None:
            run_id = secrets.token_hex(ID_BYTES)
        if not (isinstance(run_id, str) and _NEW_ID.fullmatch(run_id)):
            return _make_field_denial("id", "12 hexadecimal digits")
        if "waits" in body:  # a program, which first shows its user what to do
            refused = await self._prove(identity, order, source, body)
            if refused is not None:
                return refused
        origin = make_web_login_origin(source)
        try:
            async with asyncio.timeout(WAIT_S):
                run = await self._runs.start(identity, order, origin, None, run_id)
        except TimeoutError:
            run = await self._runs.find(identity, run_id, origin)
        if isinstance(run, Denial):
            return run
        return {"run": describe_run(run)} | (
            {"recorded": True} if run.recording is not None else {}
        )

    async def _prove(
        self, identity: Identity, order: RunOrder, source: Source, body: Fields
    ) -> Response | None:
        """Wait for an approver, and for a fresh proof of presence if the app wants one.

        Return the answer while one of them is missing.
        """
        target, steps = order.target, list[ProgressStep]()
        wait_s = WAIT_S if body["waits"] is True else 0.0
        grant = await self._flow.admit(
            identity,
            target,
            source,
            steps.append,
            needs=Permission.RUN,
            may_wait=True,
            wait_s=wait_s,
            ask_reason=answer_with_reason(read_string(body, "reason")),
        )
        if isinstance(grant, Grant):
            return None
        return answer_refusal(
            self._flow.record_denial(grant, make_web_login_origin(source), identity, target), steps
        )

    async def _read_log(self, identity: Identity, body: Fields, source: Source) -> Answer:
        """Return output from byte `from` on. If `wait` is true, wait until there is some or the run ends."""
        named = _read_place(body, "from")
        if isinstance(named, Denial):
            return named
        run_id, start = named
        run = await self._runs.open_log(identity, run_id, make_web_login_origin(source))
        if isinstance(run, Denial):
            return run
        until = asyncio.get_running_loop().time() + (WAIT_S if body.get("wait") is True else 0.0)
        while True:
            over = run.is_over
            pieces = await self._runs.read(run, start, READ_BYTES)
            if isinstance(pieces, Denial):
                return pieces
            if pieces or over or asyncio.get_running_loop().time() >= until:
                return _describe_log(run, start, pieces)
            run = await self._runs.refresh(run)
            if not run.is_over:
                await asyncio.sleep(_PAUSE_S)
            if not self._runs.is_still_allowed(identity, run):
                refused = await self._runs.open_log(identity, run_id, make_web_login_origin(source))
                if isinstance(refused, Denial):
                    return refused

    async def _feed_input(self, identity: Identity, body: Fields, source: Source) -> Answer:
        """Accept input from byte `at` on, and return the offset up to which it was accepted.

        `end` true: it is complete; `lost` true: the client cannot send the rest.
        """
        named = _read_place(body, "at")
        if isinstance(named, Denial):
            return named
        run_id, at = named
        try:
            data = base64.b64decode(str(body.get("data", "")), validate=True)
        except (binascii.Error, ValueError):
            return _make_field_denial("data", "base64")
        if len(data) > MAX_INPUT_BYTES:
            return _make_field_denial("data", f"{MAX_INPUT_BYTES} bytes at most")
        run = await self._runs.find_proved(identity, run_id, make_web_login_origin(source))
        if isinstance(run, Denial):
            return run
        if not data and body.get("end") is not True and body.get("lost") is not True:
            await self._runs.input.keep(identity, run)
        taken = await self._runs.input.feed(identity, run, at, data) if data else at
        if isinstance(taken, Denial):
            return taken
        is_ended = False
        if body.get("lost") is True:
            is_ended = await self._runs.input.end(identity, run, None) is True
        elif body.get("end") is True and taken == at + len(data):
            is_ended = await self._runs.input.end(identity, run, taken) is True
        return {"at": taken, "ended": is_ended, "over": run.is_over}

    async def _cancel(self, identity: Identity, body: Fields, source: Source) -> Answer:
        run_id = _read_id(body)
        if isinstance(run_id, Denial):
            return run_id
        run = await self._runs.cancel(identity, run_id, make_web_login_origin(source))
        if isinstance(run, Denial):
            return run
        # Cancelling requires no fresh proof of presence, so the answer does not show what runs.
        return {"run": describe_run(replace(run, command=""))}


def _describe_log(run: Run, start: int, pieces: Sequence[Output]) -> dict[str, object]:
    """Return pieces as JSON: each its offset, its stream and its bytes in base64."""
    shown = pieces[:MAX_PIECES]
    return {
        "run": describe_run(run, COMMAND_CHARS),
        "pieces": [
            [
                piece.start,
                "err" if piece.is_error else "out",
                base64.b64encode(piece.data).decode("ascii"),
            ]
            for piece in shown
        ],
        "next": shown[-1].end if shown else start,
    }


def _read_order(body: Fields) -> RunOrder | Denial:
    target = read_target(body)
    if isinstance(target, Denial):
        return target
    command, timeout_s, lock, size = (
        body.get(name, default)
        for name, default in (
            ("command", ""),
            ("timeout_s", DEFAULT_TIMEOUT_S),
            ("lock", None),
            ("size", None),
        )
    )
    if not isinstance(command, str):
        return _make_field_denial("command", "a line for the app's shell")
    if not isinstance(timeout_s, int) or isinstance(timeout_s, bool):
        return _make_field_denial("timeout_s", "a whole number of seconds")
    if not (lock is None or isinstance(lock, str)):
        return _make_field_denial("lock", "a name")
    if not (size is None or isinstance(size, str)):
        return _make_field_denial("size", "a name")
    return RunOrder(target, command, timeout_s, lock, body.get("input") is True, size)


def _read_id(body: Fields) -> str | Denial:
    run_id = body.get("id")
    if not (isinstance(run_id, str) and is_run_id(run_id)):
        return _make_field_denial("id", "the id of a run")
    return run_id


def _read_place(body: Fields, name: str) -> tuple[str, int] | Denial:
    """Return the id of a run, and the offset in `name`."""
    run_id, at = _read_id(body), body.get(name, 0)
    if isinstance(run_id, Denial):
        return run_id
    if not isinstance(at, int) or isinstance(at, bool) or not 0 <= at <= _MAX_OFFSET:
        return _make_field_denial(name, "a number of bytes")
    return run_id, at


def _make_field_denial(name: str, wanted: str) -> Denial:
    return Denial(Reason.BAD_REQUEST, f"`{name}` in the body must be {wanted}")
