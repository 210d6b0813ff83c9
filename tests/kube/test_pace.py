"""How fast requests leave, and how bytes become lines."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.kube.pace import Bucket, Limits, parse_retry_after
from stagedoor.kube.paths import build_collection_path, build_item_path, with_query
from stagedoor.kube.watch import Lines, TooLongError
from stagedoor.model.cluster import Kind
from tests.kube.scripted import Exchange, pod, scripted
from tests.waiting import until


def test_a_burst_leaves_at_once_and_the_rest_one_after_the_other() -> None:
    bucket = Bucket(rate_per_s=10, burst=3)
    assert [bucket.take(0.0) for _ in range(5)] == [0, 0, 0, pytest.approx(0.1), pytest.approx(0.2)]
    assert bucket.take(0.3) == pytest.approx(0.0)
    assert bucket.take(100.0) == 0


@given(
    st.integers(1, 20),
    st.floats(0.5, 100),
    st.lists(st.floats(0, 2), min_size=1, max_size=60),
)
def test_never_more_than_the_burst_and_the_rate_leave(
    burst: int, rate_per_s: float, gaps: list[float]
) -> None:
    bucket = Bucket(rate_per_s, burst)
    now, leave_at = 0.0, []
    for gap in gaps:
        now += gap
        leave_at.append(now + bucket.take(now))
    assert leave_at == sorted(leave_at)  # who asks first leaves first
    for first, begin in enumerate(leave_at):
        for last in range(first, len(leave_at)):
            assert last - first + 1 <= burst + rate_per_s * (leave_at[last] - begin) + 1e-6 + 1


def test_after_a_429_nothing_leaves_before_the_api_wants_it() -> None:
    bucket = Bucket(rate_per_s=10, burst=3)
    bucket.pause(7.0)
    assert bucket.take(5.0) == pytest.approx(2.0)
    bucket.pause(6.0)
    assert bucket.take(5.5) == pytest.approx(1.5)
    assert bucket.take(8.0) == 0


def test_a_patient_request_leaves_half_of_the_burst_to_others_and_has_no_place_in_the_order() -> (
    None
):
    bucket = Bucket(rate_per_s=10, burst=4)
    assert [bucket.take_patiently(0.0) for _ in range(2)] == [0, 0]
    wait_s = bucket.take_patiently(0.0)
    assert wait_s == pytest.approx(0.1)
    # Others that come meanwhile do not wait for it, and it waits for them.
    assert [bucket.take(0.05) for _ in range(2)] == [0, 0]
    assert bucket.take_patiently(0.1) > 0
    assert bucket.take_patiently(0.4) == 0
    bucket.pause(9.0)
    assert bucket.take_patiently(8.0) == pytest.approx(1.0)


async def test_the_lists_of_watches_leave_room_for_the_requests_of_a_start() -> None:
    """Otherwise a process that has just begun to watch many namespaces starts nothing meanwhile."""
    limits = Limits()

    async def answer_all_but_lists(to: Exchange) -> None:
        if "labelSelector" in to.path:
            await to.hang()
        else:
            await to.json(200, pod("web-1"))

    async with scripted(answer_all_but_lists) as server:
        cluster = server.cluster(limits=limits)

        async def watch(namespace: str) -> None:
            async for _ in cluster.watch(Kind.POD, namespace, "stagedoor.dev/shell"):
                pass

        namespaces = range(limits.in_flight + 4)
        watches = [asyncio.create_task(watch(f"team-{number}")) for number in namespaces]
        try:
            await until(lambda: server.exchanges)
            async with asyncio.timeout(5):
                assert await cluster.get(Kind.POD, "apps", "web-1") is not None
            assert len(server.exchanges) == 2, "one list at a time"
        finally:
            for task in watches:
                task.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
            await cluster.close_connections()


def test_a_clock_that_stands_still_or_goes_back_gives_nothing_away() -> None:
    bucket = Bucket(rate_per_s=1, burst=1)
    assert bucket.take(10.0) == 0
    assert bucket.take(9.0) == pytest.approx(1.0)
    assert bucket.take(10.0) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        (" 0 ", 0.0),
        ("86400", 20.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1.0),
        ("-1", 1.0),
        ("", 1.0),
        ("9" * 5000, 1.0),
        ("٣", 1.0),
    ],
)
def test_retry_after(value: str, seconds: float) -> None:
    assert parse_retry_after(value, 20.0) == seconds


@given(st.lists(st.binary(max_size=20)), st.integers(1, 7))
def test_lines_come_out_whole_however_the_bytes_come_in(parts: list[bytes], size: int) -> None:
    whole = b"\n".join(parts)
    lines = Lines()
    chunks: list[bytes] = []
    for start in range(0, len(whole), size):
        chunks += lines.feed(whole[start : start + size])
    expected = [line for line in whole.split(b"\n")[:-1] if line.strip()]
    assert chunks == expected


def test_a_line_that_does_not_end_is_not_kept_for_ever() -> None:
    lines = Lines(limit_bytes=100)
    list(lines.feed(b"a" * 90))
    with pytest.raises(TooLongError):
        list(lines.feed(b"a" * 11))
    lines = Lines(limit_bytes=100)
    list(lines.feed(b"a" * 90))
    with pytest.raises(TooLongError):
        list(lines.feed(b"a" * 11 + b"\n"))


def test_where_kinds_stand() -> None:
    assert (
        build_item_path(Kind.DEPLOYMENT, "apps", "web")
        == "/apis/apps/v1/namespaces/apps/deployments/web"
    )
    assert build_item_path(Kind.POD, "apps", "web", "log") == "/api/v1/namespaces/apps/pods/web/log"
    assert build_item_path(Kind.NAMESPACE, "", "apps") == "/api/v1/namespaces/apps"
    assert build_collection_path(Kind.EVENT, "") == "/apis/events.k8s.io/v1/events"
    assert with_query("/x", {"a": "", "b": True, "c": 3, "d": "e=f,g"}) == (
        "/x?b=true&c=3&d=e%3Df%2Cg"
    )
    for kind in Kind:
        assert build_collection_path(kind, "apps")
