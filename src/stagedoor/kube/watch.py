"""A watch that never ends: it lists the objects, and watches from there on (API concepts, "Watch bookmarks").

A watch may fall silent without ending, for example if the network drops packets or the server is suspended.
TCP detects a dead peer (`wire`). Otherwise silence is normal as long as nothing changes. So after some
silence the watch is restarted, which a dead server would not answer.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import msgspec

from stagedoor.kube import answers, lists, paths
from stagedoor.kube.answers import NO_ANSWER, ApiRequest
from stagedoor.kube.api_client import ApiClient
from stagedoor.kube.http import HttpRequest, HttpStream
from stagedoor.kube.lists import ListOptions
from stagedoor.kube.pace import parse_retry_after
from stagedoor.kube.wire import NoApiAnswerError, ReadTimeoutError
from stagedoor.model.cluster import Change, ClusterError, Trim, Verb
from stagedoor.model.units import MIB

_VERBS = {
    "ADDED": Verb.CHANGED,
    "MODIFIED": Verb.CHANGED,
    "DELETED": Verb.DELETED,
    "BOOKMARK": None,
}
"""apimachinery's watch.EventType, except ERROR, which is handled earlier."""
LINE_LIMIT_BYTES = 16 * MIB
"""The longest line. etcd accepts an object of 1.5 MiB by default, and JSON may be several times as long."""


class _Event(msgspec.Struct):
    """A line of a watch."""

    type: str
    object: msgspec.Raw


class _RestartError(Exception):
    """The watch cannot continue from the known version, so a new list is needed.

    `problem` is the reason; None if the version is merely too old (410 Gone).
    """

    def __init__(self, problem: ClusterError | None, wait_s: float = 0.0) -> None:
        super().__init__(str(problem))
        self.problem = problem
        self.wait_s = wait_s


class ResourceWatch:
    """A watch of one selection. `follow_changes` may be iterated once."""

    def __init__(
        self,
        client: ApiClient,
        selection: ListOptions,
        trim: Trim | None,
        on_problem: Callable[[ApiRequest, ClusterError | None], None],
    ) -> None:
        """Create a watch, which starts with the iteration.

        `on_problem` is called with the watch and the reason why it fails, and with None once it works again.
        """
        self._client = client
        self._kind = selection.kind
        self._selection = selection
        self._trim = trim
        self._on_problem = on_problem
        self._limits = client.limits.watch
        self._clock = client.clock
        self._operation = ApiRequest.of_kind("watch", selection.kind, selection.namespace)
        self._version = ""
        self._failures = 0
        self._is_failing = False

    async def follow_changes(self) -> AsyncGenerator[Change, None]:
        """Yield changes, as `KubeCluster.watch` does."""
        while True:
            try:
                if not self._version:
                    client = self._client.with_patience()
                    items, version = await lists.list_objects(client, self._selection, self._trim)
                    yield Change(Verb.LISTED, items)
                    self._version = version
                began = self._clock()
                try:
                    async with aclosing(self._watch_once()) as changes:
                        async for change in changes:
                            yield change
                finally:
                    if self._clock() - began >= self._limits.settled_s:
                        self._failures = 0
                if self._clock() - began < 1.0:
                    # An end is normal, but not at once; requests would be sent in a tight loop.
                    raise NoApiAnswerError("the watch was ended as soon as it began")
            except _RestartError as error:
                self._version = ""
                problem, wait_s = error.problem, error.wait_s
            except NoApiAnswerError as error:
                problem, wait_s = answers.report_no_answer(self._operation, str(error)), 0.0
            except ClusterError as error:
                self._version = ""
                problem, wait_s = error, 0.0
            else:
                continue
            if problem is not None:
                self._is_failing = True
                self._on_problem(self._operation, problem)
                yield Change(Verb.FAILED, problem=problem)
            await self._back_off(wait_s, at_once=problem is None)

    async def _watch_once(self) -> AsyncGenerator[Change, None]:
        """Yield the changes of one watch request, from `_version` on."""
        length_s = max(1, round(self._limits.length_s * random.uniform(1.0, 1.5)))  # noqa: S311  # jitter
        query: dict[str, str | int | bool] = {
            "watch": True,
            "allowWatchBookmarks": True,
            "resourceVersion": self._version,
            "timeoutSeconds": length_s,
            "labelSelector": self._selection.labels,
        }
        path = paths.with_query(
            paths.build_collection_path(self._kind, self._selection.namespace), query
        )
        end = self._clock() + length_s + self._limits.late_s
        await self._client.pace()
        request = HttpRequest("GET", path, accept=self._selection.accept(of_list=False))
        async with self._client.http.open_stream(request, self._limits.answer_s) as stream:
            status = stream.head.status
            self._client.tally["watch", str(self._kind), status] += 1
            if status >= 300 or "json" not in stream.head.content_type:
                await self._raise_refusal(stream)
            if self._is_failing:
                self._is_failing = False
                self._on_problem(self._operation, None)
                yield Change(Verb.RESUMED)
            lines = Lines()
            while True:
                left_s = end - self._clock()
                try:
                    data = await stream.read(max(0.0, min(self._limits.silence_s, left_s)))
                except ReadTimeoutError:
                    return  # nothing changed, or the server is dead: the next watch shows which
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
        """Parse a line into a change; None for a bookmark. Raises _RestartError."""
        try:
            event = msgspec.json.decode(line, type=_Event)
            if event.type == "ERROR":
                raise self._restart_error(bytes(event.object))
            item: dict[str, Any] = msgspec.json.decode(event.object, type=dict[str, Any])
            version = item["metadata"]["resourceVersion"]
            verb = _VERBS[event.type]
            if verb is not None:
                item["metadata"]["name"]
        except (msgspec.DecodeError, KeyError, TypeError):
            what = (
                "a line that is not an event: something on the way to the API changes what it says"
            )
            raise self._unreadable(what) from None
        self._version = version
        if verb is None:
            return None
        item["metadata"].pop("managedFields", None)
        item = self._selection.set_kind(item)
        return Change(verb, (self._trim(item) if self._trim else item,))

    def _restart_error(self, body: bytes) -> _RestartError:
        code, sentence = answers.read_watch_error(body)
        message = f"cannot {self._operation}: {sentence or code}"
        error = ClusterError(message, status=code, reason="WatchEnded", retry=True)
        return _RestartError(None if code == 410 else error)

    def _unreadable(self, what: str) -> _RestartError:
        message = f"cannot {self._operation}: the API sent {what}"
        return _RestartError(ClusterError(message, status=None, reason="Unreadable", retry=True))

    async def _raise_refusal(self, stream: HttpStream) -> None:
        """Raise _RestartError for a refused watch.

        The next list shows the reason, or that `_version` was the reason (410 Gone; 504 for a version that
        was lost when the store was restored).
        """
        body = bytearray()
        while len(body) < 64 * 1024 and (chunk := await stream.read(self._limits.answer_s)):
            body += chunk
        head = stream.head
        if head.status < 300:
            error = answers.report_not_kubernetes(self._operation, head)
        else:
            error = answers.refusal(self._operation, head, bytes(body))
        wait_s = 0.0
        if head.retry_after is not None:
            wait_s = parse_retry_after(head.retry_after, self._limits.longest_wait_s)
        raise _RestartError(None if head.status == 410 else error, wait_s)

    async def _back_off(self, wait_s: float, *, at_once: bool) -> None:
        """Wait before the next attempt for 0.25 s, 0.5 s, 1 s, and so on, but at least `wait_s`.

        With `at_once`, the first attempt does not wait.
        """
        if at_once and self._failures == 0 and not wait_s:
            self._failures = 1
            return
        backoff_s = self._limits.first_wait_s * 2 ** min(self._failures, 20)
        backoff_s = min(backoff_s, self._limits.longest_wait_s)
        self._failures += 1
        # Half of it is random, so that clients that lost the same API do not all return at once.
        await asyncio.sleep(max(wait_s, backoff_s * random.uniform(0.5, 1.0)))  # noqa: S311  # jitter


class TooLongError(Exception):
    """A line is longer than the limit."""


class Lines:
    """A buffer that splits the bytes fed to it into lines, without their ends, and keeps the rest."""

    def __init__(self, limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that `data` completes; blank ones are skipped. Raises TooLongError."""
        if b"\n" not in data:
            self._rest += data
            self._check(len(self._rest))
            return
        first, *others = data.split(b"\n")
        self._rest += first
        self._check(len(self._rest))
        whole = bytes(self._rest)
        self._rest = bytearray(others.pop())
        for line in (whole, *others):
            if line.strip():
                yield line

    def _check(self, length: int) -> None:
        if length > self._limit:
            raise TooLongError(f"a line of more than {self._limit} bytes")


API = "the cluster's API"
CLUSTER_PART = "the whole cluster"


class WatchProblems:
    """Reports the parts of the cluster (`API`, `CLUSTER_PART`, `namespace apps`) that cannot be watched.

    It reports a part with the reason when the first of its watches fails, and with None once all of them work
    again.
    """

    def __init__(self, on_problem: Callable[[str, str | None], None]) -> None:
        self._on_problem = on_problem
        self._failing: dict[ApiRequest, str] = {}
        """The failing watches, each with the part to which it belongs."""

    def report(self, watch: ApiRequest, problem: ClusterError | None) -> None:
        """Take note that a watch fails, or works again (None)."""
        before = self._failing.pop(watch, None)
        part = _part(watch, problem) if problem is not None else None
        is_first = part is not None and part not in self._failing.values() and part != before
        if part is not None:
            self._failing[watch] = part
        if before is not None and before not in self._failing.values():
            self._on_problem(before, None)
        if is_first and part is not None and problem is not None:
            self._on_problem(part, problem.message)


def _part(watch: ApiRequest, problem: ClusterError) -> str:
    if problem.reason == NO_ANSWER:
        return API
    return f"namespace {watch.namespace}" if watch.namespace else CLUSTER_PART
