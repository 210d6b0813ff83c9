"""Follows what changes: a list, then a watch from there on, for ever.

Kubernetes API concepts, "Efficient detection of changes" and "Watch bookmarks".

A watch may fall silent without an end: a network that swallows packets, a server that is stopped. A
dead peer is found by TCP (`wire`). For the rest, silence is no fault where nothing changes; so after
some of it the watch is begun again, and a server that is away does not answer that.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from stagedoor.kube import answers, lists, paths
from stagedoor.kube.answers import ApiRequest
from stagedoor.kube.api_client import ApiClient
from stagedoor.kube.http import Request, Stream
from stagedoor.kube.lines import Lines, TooLongError
from stagedoor.kube.lists import ListOptions, Trim
from stagedoor.kube.pace import retry_after_s
from stagedoor.kube.wire import NoAnswerError, ReadTimeoutError
from stagedoor.model.cluster import Change, ClusterError, Verb

_VERBS = {
    "ADDED": Verb.CHANGED,
    "MODIFIED": Verb.CHANGED,
    "DELETED": Verb.DELETED,
    "BOOKMARK": None,
}
"""apimachinery's watch.EventType; ERROR is dealt with before."""


class _Event(msgspec.Struct):
    """One line of a watch."""

    type: str
    object: msgspec.Raw


class _RestartError(Exception):
    """What is known is no base to go on from: list again. `problem` says why, or None for a
    watch that only began too long ago (410 Gone)."""

    def __init__(self, problem: ClusterError | None, wait_s: float = 0.0) -> None:
        super().__init__(str(problem))
        self.problem = problem
        self.wait_s = wait_s


class ResourceWatch:
    """One watch's life. `changes` may be iterated once."""

    def __init__(
        self,
        asking: ApiClient,
        selection: ListOptions,
        trim: Trim | None,
        on_problem: Callable[[ApiRequest, ClusterError | None], None],
        chance: Callable[[], float],
    ) -> None:
        """`on_problem` gets the watch and why it fails, and None when it works again. `chance` returns
        numbers from 0 to 1, for jitter."""
        self._asking = asking
        self._kind = selection.kind
        self._selection = selection
        self._trim = trim
        self._on_problem = on_problem
        self._how = asking.limits.watch
        self._clock = asking.clock
        self._chance = chance
        self._asked = ApiRequest.about("watch", selection.kind, selection.namespace)
        self._version = ""
        self._failures = 0
        self._troubled = False

    async def changes(self) -> AsyncGenerator[Change, None]:
        """See `KubeCluster.watch`."""
        while True:
            try:
                if not self._version:
                    items, version = await lists.snapshot(self._asking, self._selection, self._trim)
                    yield Change(Verb.LISTED, items)
                    self._version = version
                began = self._clock()
                try:
                    async with aclosing(self._once()) as changes:
                        async for change in changes:
                            yield change
                finally:
                    if self._clock() - began >= self._how.settled_s:
                        self._failures = 0
                if self._clock() - began < 1.0:
                    # An end is no fault; one at once is, or we would ask in a circle.
                    raise NoAnswerError("the watch was ended as soon as it began")
            except _RestartError as error:
                self._version = ""
                problem, wait_s = error.problem, error.wait_s
            except NoAnswerError as error:
                problem, wait_s = answers.silence(self._asked, str(error)), 0.0
            except ClusterError as error:
                self._version = ""
                problem, wait_s = error, 0.0
            else:
                continue
            if problem is not None:
                self._troubled = True
                self._on_problem(self._asked, problem)
                yield Change(Verb.FAILED, problem=problem)
            await self._rest(wait_s, at_once=problem is None)

    async def _once(self) -> AsyncGenerator[Change, None]:
        """One watch from `_version` on, to its end."""
        length_s = max(1, round(self._how.length_s * (1 + self._chance() / 2)))
        query: dict[str, str | int | bool] = {
            "watch": True,
            "allowWatchBookmarks": True,
            "resourceVersion": self._version,
            "timeoutSeconds": length_s,
            "labelSelector": self._selection.labels,
        }
        path = paths.with_query(paths.collection(self._kind, self._selection.namespace), query)
        end = self._clock() + length_s + self._how.late_s
        await self._asking.pace()
        async with self._asking.http.stream(Request("GET", path), self._how.answer_s) as stream:
            status = stream.head.status
            self._asking.tally["watch", str(self._kind), status] += 1
            if status >= 300 or "json" not in stream.head.content_type:
                await self._refused(stream)
            if self._troubled:
                self._troubled = False
                self._on_problem(self._asked, None)
                yield Change(Verb.RESUMED)
            lines = Lines()
            while True:
                left_s = end - self._clock()
                try:
                    data = await stream.read(max(0.0, min(self._how.silence_s, left_s)))
                except ReadTimeoutError:
                    return  # nothing new, or nobody there: the next watch will show
                if not data:
                    return
                try:
                    for line in lines.feed(data):
                        change = self._change(line)
                        if change is not None:
                            yield change
                except TooLongError as error:
                    raise self._unreadable(str(error)) from None

    def _change(self, line: bytes) -> Change | None:
        """What a line says; None for a bookmark. Raises _RestartError."""
        try:
            event = msgspec.json.decode(line, type=_Event)
            if event.type == "ERROR":
                raise self._error(bytes(event.object))
            found: dict[str, Any] = msgspec.json.decode(event.object, type=dict[str, Any])
            version = found["metadata"]["resourceVersion"]
            verb = _VERBS[event.type]
            if verb is not None:
                found["metadata"]["name"]
        except (msgspec.DecodeError, KeyError, TypeError):
            what = "a line that is no event: something on the way to the API changes what it says"
            raise self._unreadable(what) from None
        self._version = version
        if verb is None:
            return None
        found["metadata"].pop("managedFields", None)
        found = dict(self._trim(found)) if self._trim else found
        return Change(verb, (found,))

    def _error(self, body: bytes) -> _RestartError:
        code, sentence = answers.watch_error(body)
        message = f"cannot {self._asked}: {sentence or code}"
        error = ClusterError(message, status=code, reason="WatchEnded", retry=True)
        return _RestartError(None if code == 410 else error)

    def _unreadable(self, what: str) -> _RestartError:
        message = f"cannot {self._asked}: the API sent {what}"
        return _RestartError(ClusterError(message, status=None, reason="Unreadable", retry=True))

    async def _refused(self, stream: Stream) -> None:
        """The API would not watch from there. Raises _RestartError: with a list we will see why, or
        that `_version` was the reason (410 Gone; 504, of a future that was lost with a restore)."""
        body = bytearray()
        while len(body) < 64 * 1024 and (chunk := await stream.read(self._how.answer_s)):
            body += chunk
        head = stream.head
        if head.status < 300:
            error = answers.not_kubernetes(self._asked, head.status, head.content_type)
        else:
            error = answers.refusal(self._asked, head.status, head.content_type, bytes(body))
        wait_s = 0.0
        if head.retry_after is not None:
            wait_s = retry_after_s(head.retry_after, self._how.longest_wait_s)
        raise _RestartError(None if head.status == 410 else error, wait_s)

    async def _rest(self, wait_s: float, *, at_once: bool) -> None:
        """Wait before the next try, `wait_s` at least: 0.25 s, 0.5 s, 1 s, …; with `at_once` not
        before the first."""
        if at_once and self._failures == 0 and not wait_s:
            self._failures = 1
            return
        backoff_s = self._how.first_wait_s * 2 ** min(self._failures, 20)
        backoff_s = min(backoff_s, self._how.longest_wait_s)
        self._failures += 1
        # Half of it by chance: clients that lost the same API do not come back in the same moment.
        await asyncio.sleep(max(wait_s, backoff_s * (0.5 + self._chance() / 2)))
