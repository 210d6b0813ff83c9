"""Answers that no API server gives, and proxies, networks and overload do."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.kube import http, wire
from stagedoor.kube.answers import NO_ANSWER, ApiRequest
from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.credentials import CredentialError, Header
from stagedoor.kube.logs import LOG_LIMIT_BYTES
from stagedoor.kube.pace import Limits, WatchLimits
from stagedoor.kube.watch import API, WatchProblems
from stagedoor.model.cluster import Change, ClusterError, Kind, Verb
from tests.kube.scripted import Exchange, listing, pod, scripted, status
from tests.waiting import until

PAGE = b"<html><body><h1>502 Bad Gateway</h1>secret-of-the-proxy</body></html>"

Bytes = Callable[[Exchange], Awaitable[None]]


async def html(to: Exchange) -> None:
    await to.answer(502, PAGE, "text/html; charset=utf-8")


async def html_as_success(to: Exchange) -> None:
    await to.answer(200, b"<html>please log in</html>", "text/html")


async def html_not_found(to: Exchange) -> None:
    await to.answer(404, b"<html>nothing here</html>", "text/html")


async def plain_not_found(to: Exchange) -> None:
    await to.answer(404, b"404 page not found\n", "text/plain; charset=utf-8")


async def json_not_found(to: Exchange) -> None:
    await to.json(404, {"error": "no route"})


async def escapes(to: Exchange) -> None:
    await to.json(500, status(500, "InternalError", "a webhook said:\n\x1b]0;x\x07 no"))


async def too_early(to: Exchange) -> None:
    await to.answer(500, b"apiserver not ready", "text/plain")


async def garbage(to: Exchange) -> None:
    await to.raw(b"\x16\x03\x01\x02\x00\x01\x00garbage\r\n\r\n")


async def cut_head(to: Exchange) -> None:
    await to.raw(b"HTTP/1.1 200 OK\r\nContent-")
    to.ends = True


async def cut_body(to: Exchange) -> None:
    await to.raw(
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{"a'
    )
    to.ends = True


async def cut_chunk(to: Exchange) -> None:
    await to.stream()
    await to.raw(b'ff\r\n{"kind"')
    to.ends = True


async def wrong_json(to: Exchange) -> None:
    await to.answer(200, b'{"kind": "Pod", "metadata": ')


async def not_an_object(to: Exchange) -> None:
    await to.answer(200, b"[1, 2]")


async def endless_head(to: Exchange) -> None:
    await to.raw(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000)
    to.ends = True


async def nothing(to: Exchange) -> None:
    to.ends = True


@pytest.mark.parametrize(
    ("fault", "code", "says"),
    [
        (html, 502, "the answer (502, text/html) is not one of a Kubernetes API"),
        (html_as_success, 200, "the answer (200, text/html) is not one of a Kubernetes API"),
        (html_not_found, 404, "the answer (404, text/html) is not one of a Kubernetes API"),
        (plain_not_found, 404, "the answer (404, text/plain) is not one of a Kubernetes API"),
        (json_not_found, 404, "the answer (404, application/json) is not one of a Kubernetes API"),
        (too_early, 500, "apiserver not ready"),
        (escapes, 500, "a webhook said: ]0;x no"),
        (garbage, None, "does not speak HTTP"),
        (cut_head, None, "broke off its answer"),
        (cut_body, None, "broke off its answer"),
        (cut_chunk, None, "broke off its answer"),
        (wrong_json, None, "the body is not valid Kubernetes JSON"),
        (not_an_object, None, "the body is not valid Kubernetes JSON"),
        (endless_head, None, "does not speak HTTP"),
        (nothing, None, "closed the connection before it answered"),
    ],
)
async def test_each_fault_is_one_error_that_says_what_was_asked_and_may_pass(
    fault: Bytes, code: int | None, says: str
) -> None:
    async with scripted(fault) as server:
        cluster = server.cluster()
        with pytest.raises(ClusterError) as raised:
            await cluster.get(Kind.POD, "apps", "web-1")
        await cluster.close_connections()
    error = raised.value
    assert error.message.startswith("cannot get Pod web-1 in namespace apps: ")
    assert says in error.message
    assert error.status == code
    assert error.retry
    assert "secret-of-the-proxy" not in error.message


async def test_a_slow_answer_is_given_up_and_its_connection_closed() -> None:
    async def slow(to: Exchange) -> None:
        for letter in b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n":
            await to.raw(bytes([letter]))
            await asyncio.sleep(0.25)

    async with scripted(slow) as server:
        cluster = server.cluster(limits=Limits(request_s=0.3))
        began = time.monotonic()
        with pytest.raises(ClusterError, match=r"was silent for 0\.3 s") as raised:
            await cluster.get(Kind.POD, "apps", "web-1")
        # The head alone would take more than 12 s.
        assert time.monotonic() - began < 11
        assert (raised.value.status, raised.value.retry) == (None, True)
        await until(lambda: not server.open)
        await cluster.close_connections()


async def test_nobody_listens_or_the_name_is_unknown() -> None:
    async with scripted(html) as server:
        access = server.access()
    for host, says in (
        ("127.0.0.1", "Connect call failed"),
        ("no.such.invalid", "cannot connect to"),
    ):
        cluster = KubeCluster(
            replace(access, address=replace(access.address, host=host)),
            field_manager="t",
            component="t",
            instance="t",
            on_problem=lambda *_: None,
        )
        with pytest.raises(ClusterError) as raised:
            await cluster.get(Kind.POD, "apps", "web-1")
        assert "cannot connect to" in raised.value.message, says
        assert raised.value.retry
        await cluster.close_connections()


async def test_a_connection_is_used_again_and_a_dead_one_replaced() -> None:
    async def script(to: Exchange) -> None:
        await to.json(200, pod("web-1"))
        to.ends = to.number == 2

    async with scripted(script) as server:
        cluster = server.cluster()
        for _ in range(3):
            await cluster.get(Kind.POD, "apps", "web-1")
        assert server.connections == 1
        for _ in range(2):
            await cluster.get(Kind.POD, "apps", "web-1")
        assert server.connections == 2
        await cluster.close_connections()


async def test_an_answer_with_something_behind_it_ends_the_connection() -> None:
    """Bytes that follow an answer uncalled for must not be taken for the next one's."""

    async def script(to: Exchange) -> None:
        forged = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        body = b'{"metadata": {"name": "real"}}'
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n"
        await to.raw(head + body + forged)

    async with scripted(script) as server:
        cluster = server.cluster()
        for _ in range(3):
            resource = await cluster.get(Kind.POD, "apps", "web-1")
            assert resource == {"metadata": {"name": "real"}}
        assert server.connections == 3
        await cluster.close_connections()


async def test_what_may_not_be_done_twice_is_not() -> None:
    """The connection breaks when the request has arrived: a create is not sent again, a get is."""

    async def script(to: Exchange) -> None:
        if to.number == 0:
            await to.json(200, pod("web-1"))
        elif to.number in (1, 2):
            to.ends = True
        else:
            await to.json(200, pod("web-1"))

    async with scripted(script) as server:
        cluster = server.cluster()
        await cluster.get(Kind.POD, "apps", "web-1")
        with pytest.raises(ClusterError, match="closed the connection"):
            await cluster.create(pod("web-1"))
        assert [e.method for e in server.exchanges] == ["GET", "POST"]
        with pytest.raises(ClusterError):
            await cluster.get(Kind.POD, "apps", "web-1")  # a new connection: broken is broken
        await cluster.get(Kind.POD, "apps", "web-1")
        await cluster.close_connections()


async def test_a_cancelled_request_takes_its_connection_along() -> None:
    async def script(to: Exchange) -> None:
        if to.path.endswith("slow"):
            await to.hang()
        await to.json(200, pod("web-1"))

    async with scripted(script) as server:
        cluster = server.cluster(limits=Limits(in_flight=4))

        async def cancel_one() -> None:
            asking = asyncio.create_task(cluster.get(Kind.POD, "apps", "slow"))
            count = len(server.exchanges)
            await until(lambda: len(server.exchanges) > count)
            asking.cancel()
            await asyncio.wait((asking,))

        for _ in range(20):
            await cancel_one()
        await until(lambda: not server.open)
        # The pool is as good as new.
        outcomes = await asyncio.gather(*(cluster.get(Kind.POD, "apps", "a") for _ in range(8)))
        assert len(outcomes) == 8
        await cluster.close_connections()


async def test_the_api_may_ask_to_come_later() -> None:
    async def script(to: Exchange) -> None:
        if to.number < 2:
            await to.json(429, status(429, "TooManyRequests"), more="Retry-After: 1\r\n")
        else:
            await to.json(200, pod("web-1"))

    async with scripted(script) as server:
        cluster = server.cluster()
        began = time.monotonic()
        await cluster.get(Kind.POD, "apps", "web-1")
        assert time.monotonic() - began >= 2
        assert cluster.requests["get", "Pod", 429] == 2
        await cluster.close_connections()


async def test_our_patience_with_that_has_an_end() -> None:
    async def script(to: Exchange) -> None:
        await to.json(503, status(503, "ServiceUnavailable"), more="Retry-After: 3600\r\n")

    async with scripted(script) as server:
        cluster = server.cluster()
        with pytest.raises(ClusterError, match="because") as raised:
            await cluster.get(Kind.POD, "apps", "web-1")
        assert raised.value.retry
        assert len(server.exchanges) == 1
        with pytest.raises(ClusterError):
            await cluster.with_priority().get(Kind.POD, "apps", "web-1")
        await cluster.close_connections()


class Renewable:
    """A credential that is renewed when it is refused."""

    def __init__(self, fails: bool = False) -> None:
        self.token = "old-secret-token"
        self.fails = fails

    async def make_header(self) -> Header:
        return Header(f"Bearer {self.token}")

    async def renew(self, refused: Header) -> bool:
        if self.fails:
            raise CredentialError("the program is not there")
        self.token = "new-secret-token"
        return refused.authorization != f"Bearer {self.token}"


async def test_a_refused_token_is_renewed_once_and_shown_nowhere() -> None:
    async def script(to: Exchange) -> None:
        if to.header("authorization") == "Bearer new-secret-token" and "good" in to.path:
            await to.json(200, pod("good"))
        else:
            await to.json(401, status(401, "Unauthorized", "Unauthorized"))

    async with scripted(script) as server:
        cluster = server.cluster(credential=Renewable())
        assert await cluster.get(Kind.POD, "apps", "good")
        with pytest.raises(ClusterError) as raised:
            await cluster.get(Kind.POD, "apps", "bad")
        assert raised.value.status == 401
        assert len(server.exchanges) == 4 - 1  # good twice, bad once: its token was the newest
        other = server.cluster(credential=Renewable(fails=True))
        with pytest.raises(ClusterError, match="the program is not there"):
            await other.get(Kind.POD, "apps", "bad")
        await other.close_connections()
        shown = f"{raised.value!r} {raised.value.message} {cluster!r} {await Renewable().make_header()!r}"
        assert "secret-token" not in shown
        await cluster.close_connections()


@pytest.mark.parametrize("name", ["../secrets/x", "..", "a/b", "a?x=1", "", "A b", "é", "x" * 300])
async def test_a_name_that_is_none_reaches_no_api(name: str) -> None:
    async with scripted(html) as server:
        cluster = server.cluster()
        for call in (
            cluster.get(Kind.POD, "apps", name),
            cluster.delete(Kind.POD, "apps", name),
            cluster.merge(Kind.POD, "apps", name, {}),
            cluster.read_logs("apps", name, "shell", lines=1),
            cluster.get(Kind.POD, name, "web"),
        ):
            with pytest.raises(ClusterError) as raised:
                await call
            assert not raised.value.retry
        assert server.exchanges == []
        await cluster.close_connections()


async def test_what_is_none_of_our_kinds_is_not_written() -> None:
    async with scripted(html) as server:
        cluster = server.cluster()
        meta = {"name": "x", "namespace": "apps"}
        for manifest in (
            {"apiVersion": "v1", "kind": "Node", "metadata": meta},
            {"apiVersion": "v1", "kind": "Deployment", "metadata": meta},
            {"kind": "Pod", "metadata": meta},
            {},
        ):
            with pytest.raises(ClusterError, match="does not write objects of that kind"):
                await cluster.apply(manifest)
        assert server.exchanges == []
        await cluster.close_connections()


async def test_what_is_in_a_list_and_is_no_object_is_an_error() -> None:
    async def script(to: Exchange) -> None:
        await to.json(
            200, {**listing(pod("web-1")), "items": [[1], 3, {}, {"metadata": 5}][to.number :]}
        )

    async with scripted(script) as server:
        cluster = server.cluster()
        for _ in range(4):
            with pytest.raises(ClusterError, match="something that is not an object"):
                await cluster.list(Kind.POD, "apps")
        assert await cluster.list(Kind.POD, "apps") == []
        await cluster.close_connections()


# ---- logs


async def test_logs_of_a_container_that_has_just_begun_anew_are_those_of_the_one_before() -> None:
    async def script(to: Exchange) -> None:
        if "previous=true" in to.path:
            await to.answer(200, b"panic: no such file\n", "text/plain")
        else:
            await to.answer(200, b"", "text/plain")

    async with scripted(script) as server:
        cluster = server.cluster()
        assert await cluster.read_logs("apps", "web-1", "shell", lines=5) == "panic: no such file\n"
        assert "tailLines=5" in server.exchanges[0].path
        assert "container=shell" in server.exchanges[0].path
        await cluster.close_connections()


async def test_of_a_log_with_long_lines_the_end_is_kept() -> None:
    lines = [f"{number:03}{'x' * 4000}" for number in range(50)]

    async def script(to: Exchange) -> None:
        assert "limitBytes" not in to.path, "the API would cut off the end"
        body = "\n".join(lines) if "web-1" in to.path else "y" * 2 * LOG_LIMIT_BYTES
        await to.answer(200, f"{body}\n".encode(), "text/plain")

    async with scripted(script) as server:
        cluster = server.cluster()
        log = await cluster.read_logs("apps", "web-1", "shell", lines=50)
        assert log.splitlines() == lines[-(LOG_LIMIT_BYTES // len(f"{lines[0]}\n")) :]
        log = await cluster.read_logs("apps", "web-2", "shell", lines=50)
        assert log == f"{'y' * (LOG_LIMIT_BYTES - 1)}\n", "a line that is too long itself"
        await cluster.close_connections()


async def test_a_container_that_waits_has_no_log_and_a_pod_that_is_gone_is_an_error() -> None:
    async def script(to: Exchange) -> None:
        if "gone" in to.path:
            await to.json(404, status(404, "NotFound", 'pods "gone" not found'))
        else:
            await to.json(400, status(400, "BadRequest", "container is waiting to start"))

    async with scripted(script) as server:
        cluster = server.cluster()
        assert await cluster.read_logs("apps", "web-1", "shell", lines=5) == ""
        with pytest.raises(ClusterError, match="not found") as raised:
            await cluster.read_logs("apps", "gone", "shell", lines=5)
        assert raised.value.reason == "NotFound"
        await cluster.close_connections()


# ---- watches

QUICK = WatchLimits(answer_s=10, silence_s=0.4, first_wait_s=0.02, longest_wait_s=0.1)


async def changes_of(
    watching: Bytes, count: int, how: WatchLimits = QUICK
) -> tuple[list[Change], list[str | None], list[Exchange]]:
    """Lists are answered with one pod, of the version of how many lists there were; watches as the
    script says. Returns the first `count` changes, the problems, and what was asked."""
    lists = 0

    async def script(to: Exchange) -> None:
        nonlocal lists
        if "watch=true" in to.path:
            await watching(to)
        else:
            lists += 1
            await to.json(200, listing(pod("web-1", lists), version=100 * lists))

    problems: list[str | None] = []
    async with scripted(script) as server:
        cluster = server.cluster(limits=Limits(watch=how), problems=problems)
        watch = cluster.watch(Kind.POD, "apps", "a=b")
        changes: list[Change] = []
        async with asyncio.timeout(60):
            while len(changes) < count:
                change = await anext(watch)
                if change.verb not in (Verb.FAILED, Verb.RESUMED):
                    changes.append(change)
        await watch.aclose()
        await until(lambda: not server.open or cluster.requests["list", "Pod", 200] > 0)
        await cluster.close_connections()
        return changes, problems, server.exchanges


async def test_a_watch_asks_for_bookmarks_from_the_lists_version_on() -> None:
    async def watching(to: Exchange) -> None:
        await to.stream()
        await to.event("ADDED", pod("web-2", 101))
        await to.hang()

    found, _, asked = await changes_of(watching, 2)
    assert [change.verb for change in found] == [Verb.LISTED, Verb.CHANGED]
    assert found[0].objects[0]["kind"] == "Pod"
    assert "labelSelector=a%3Db" in asked[0].path
    for part in ("allowWatchBookmarks=true", "resourceVersion=100&", "labelSelector=a%3Db"):
        assert part in asked[1].path


async def test_after_a_break_it_goes_on_from_the_last_event_or_bookmark() -> None:
    async def watching(to: Exchange) -> None:
        await to.stream()
        if "resourceVersion=100&" in to.path:
            await to.event("ADDED", pod("web-2", 101))
            await to.raw(b'9\r\n{"type":"')  # cut in the middle of an event
            to.ends = True
        elif "resourceVersion=101&" in to.path:
            await to.event("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": "150"}})
            await to.raw(b"garbage\r\n")
            to.ends = True
        else:
            assert "resourceVersion=150&" in to.path
            await to.event("DELETED", pod("web-2", 151))
            await to.hang()

    found, problems, asked = await changes_of(watching, 3)
    assert [change.verb for change in found] == [Verb.LISTED, Verb.CHANGED, Verb.DELETED]
    assert sum("watch=true" not in request.path for request in asked) == 1
    assert problems[-1] is None


@pytest.mark.parametrize("how", ["answer", "event"])
async def test_410_gone_lists_anew_at_once_and_is_no_problem(how: str) -> None:
    async def watching(to: Exchange) -> None:
        gone = status(410, "Expired", "too old resource version: 100 (200)")
        if "resourceVersion=200&" in to.path:
            await to.stream()
            await to.hang()
        elif how == "answer":
            await to.json(410, gone)
        else:
            await to.stream()
            await to.event("ERROR", gone)
            await to.end()

    found, problems, _ = await changes_of(watching, 2)
    assert [change.verb for change in found] == [Verb.LISTED, Verb.LISTED]
    assert found[1].objects[0]["metadata"]["resourceVersion"] == "2"
    assert problems == []


async def line_of_garbage(to: Exchange) -> None:
    await to.chunk(b"<html>\n")


async def event_of_nothing(to: Exchange) -> None:
    await to.chunk(b'{"type": "ADDED", "object": {"kind": "Pod"}}\n')


async def event_of_a_list(to: Exchange) -> None:
    await to.chunk(b'{"type": "ADDED", "object": [1]}\n')


async def event_of_no_name(to: Exchange) -> None:
    await to.event("ADDED", {"kind": "Pod", "metadata": {"resourceVersion": "101"}})


async def event_of_no_kind(to: Exchange) -> None:
    await to.event("RENAMED", pod("web-1", 101))


async def other_error(to: Exchange) -> None:
    await to.event("ERROR", status(500, "InternalError", "etcd is ill"))


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (line_of_garbage, "not an event"),
        (event_of_nothing, "not an event"),
        (event_of_a_list, "not an event"),
        (event_of_no_name, "not an event"),
        (event_of_no_kind, "not an event"),
        (other_error, "etcd is ill"),
    ],
)
async def test_what_is_no_event_lists_anew_and_is_told(fault: Bytes, says: str) -> None:
    async def watching(to: Exchange) -> None:
        await to.stream()
        if "resourceVersion=100&" in to.path:
            await fault(to)
        await to.hang()

    found, problems, _ = await changes_of(watching, 2)
    assert [change.verb for change in found] == [Verb.LISTED, Verb.LISTED]
    assert says in str(problems[0])


async def test_a_version_of_the_future_is_listed_anew() -> None:
    """After etcd was restored from a backup, what we know is newer than all that is there."""

    async def watching(to: Exchange) -> None:
        if "resourceVersion=100&" in to.path:
            await to.json(
                504, status(504, "Timeout", "Too large resource version: 100, current: 7")
            )
        else:
            await to.stream()
            await to.hang()

    found, problems, _ = await changes_of(watching, 2)
    assert [change.verb for change in found] == [Verb.LISTED, Verb.LISTED]
    assert "Too large resource version" in str(problems[0])


async def test_a_watch_that_falls_silent_is_begun_anew_and_that_is_no_problem() -> None:
    """In a quiet cluster it is silent because nothing happens."""

    async def watching(to: Exchange) -> None:
        await to.stream()
        if to.number > 2:
            await to.event("ADDED", pod("web-2", 101))
        await to.hang()

    how = replace(QUICK, silence_s=1.1)
    found, problems, asked = await changes_of(watching, 2, how)
    assert [change.verb for change in found] == [Verb.LISTED, Verb.CHANGED]
    assert problems == []
    assert ["resourceVersion=100&" in request.path for request in asked] == [
        False,
        True,
        True,
        True,
    ]


async def test_a_watch_that_hangs_is_a_problem_as_soon_as_the_next_is_not_answered() -> None:
    async def watching(to: Exchange) -> None:
        if to.number in (1, 3):
            await to.stream()
        if to.number == 3:
            await to.event("ADDED", pod("web-2", 101))
        await to.hang()

    how = replace(QUICK, silence_s=1.1, answer_s=2)
    found, problems, _ = await changes_of(watching, 2, how)
    assert [change.verb for change in found] == [Verb.LISTED, Verb.CHANGED]
    assert "was silent for 2 s" in str(problems[0])
    assert problems[1:] == [None]


async def test_the_reader_of_a_watch_hears_that_it_fails_and_that_it_works_again() -> None:
    async def script(to: Exchange) -> None:
        if "watch=true" in to.path:
            await to.stream()
            await to.hang()
        elif to.number < 2:
            await to.json(403, status(403, "Forbidden", "no right"))
        else:
            await to.json(200, listing(pod("web-1", 1), version=100))

    problems: list[str | None] = []
    async with scripted(script) as server:
        cluster = server.cluster(limits=Limits(watch=QUICK), problems=problems)
        watch = cluster.watch(Kind.POD, "apps")
        async with asyncio.timeout(60):
            first, second = await anext(watch), await anext(watch)
            assert [first.verb, second.verb] == [Verb.FAILED, Verb.FAILED]
            assert first.problem is not None
            assert first.problem.status == 403
            assert not first.problem.retry
            assert [(await anext(watch)).verb, (await anext(watch)).verb] == [
                Verb.LISTED,
                Verb.RESUMED,
            ]
        await watch.aclose()
        await cluster.close_connections()
    assert len(problems) == 2, "one line that it fails, one that it works again"


def test_a_silent_api_is_one_line_and_a_namespace_that_refuses_another() -> None:
    lines: list[tuple[str, str | None]] = []
    problems = WatchProblems(lambda part, problem: lines.append((part, problem)))
    silent = ClusterError("no answer", status=None, reason=NO_ANSWER, retry=True)
    refused = ClusterError("forbidden", status=403, reason="Forbidden", retry=False)
    watches = [
        ApiRequest.of_kind("watch", kind, f"apps-{number}")
        for number in range(1000)
        for kind in (Kind.POD, Kind.LEASE)
    ]
    for _ in range(2):
        for watch in watches:
            problems.report(watch, silent)
    assert lines == [(API, "no answer")]
    for watch in watches[:2]:
        problems.report(watch, refused)
    assert lines[1:] == [("namespace apps-0", "forbidden")]
    for watch in watches:
        problems.report(watch, None)
    assert sorted(part for part, problem in lines[2:] if problem is None) == [
        "namespace apps-0",
        API,
    ]


async def test_a_watch_that_always_ends_at_once_is_not_asked_for_in_a_circle() -> None:
    async def watching(to: Exchange) -> None:
        await to.stream()
        await to.end()

    async def script(to: Exchange) -> None:
        if "watch=true" in to.path:
            await watching(to)
        else:
            await to.json(200, listing())

    async with scripted(script) as server:
        how = replace(QUICK, first_wait_s=0.1, longest_wait_s=10)
        cluster = server.cluster(limits=Limits(watch=how))
        watch = cluster.watch(Kind.POD, "apps")
        await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        await until(lambda: len(server.exchanges) >= 2)
        await asyncio.wait((waiting,), timeout=1)
        assert len(server.exchanges) <= 8
        waiting.cancel()
        await asyncio.wait((waiting,))
        await cluster.close_connections()


async def test_a_line_without_an_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stagedoor.kube.watch.LINE_LIMIT_BYTES", 1000)
    monkeypatch.setattr("stagedoor.kube.watch.Lines.__init__.__defaults__", (1000,), raising=False)

    async def watching(to: Exchange) -> None:
        await to.stream()
        if "resourceVersion=100&" in to.path:
            for _ in range(30):
                await to.chunk(b"a" * 100)
        await to.hang()

    found, problems, _ = await changes_of(watching, 2)
    assert [change.verb for change in found] == [Verb.LISTED, Verb.LISTED]
    assert "a line of more than" in str(problems[0])


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300), whole=st.booleans())
async def test_any_bytes_are_an_answer_or_one_documented_error(data: bytes, whole: bool) -> None:
    async def script(to: Exchange) -> None:
        if whole:
            await to.answer(200, data)
        else:
            await to.raw(data)
        to.ends = True

    async with scripted(script) as server:
        cluster = server.cluster(limits=Limits(request_s=5))
        for call in (cluster.get(Kind.POD, "apps", "web"), cluster.list(Kind.POD, "apps")):
            with suppress(ClusterError):
                await call
        await cluster.close_connections()


def test_the_limits_that_keep_memory_bounded_are_there() -> None:
    assert wire.HEAD_LIMIT_BYTES <= 2**20
    assert http.BODY_LIMIT_BYTES <= 2**27
