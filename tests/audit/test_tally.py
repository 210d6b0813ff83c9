from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.audit.pending import (
    COUNTED,
    MAX_SOURCES,
    OTHERS,
    SOURCE_SHARE,
    TOTAL_SHARE,
    DenialCounts,
)
from stagedoor.model.denial import Reason
from stagedoor.model.session import AccessMethod
from stagedoor.model.source import find_source_network

HERE = ip_address("10.0.0.1")


def test_a_person_who_tries_a_few_times_is_written_down_each_time() -> None:
    tally = DenialCounts()
    assert [tally.take_share(Reason.NO_GRANT, HERE, 0.0) for _ in range(SOURCE_SHARE)] == (
        [True] * SOURCE_SHARE
    )
    assert not tally.take_share(Reason.NO_GRANT, HERE, 0.0)
    assert tally.take_share(Reason.NO_GRANT, ip_address("10.0.0.2"), 0.0), (
        "others have their own share"
    )


def test_whoever_shows_no_credential_is_only_counted() -> None:
    tally = DenialCounts()
    for reason in COUNTED:
        assert not tally.take_share(reason, HERE, 0.0)


def test_many_sources_together_cannot_fill_the_disk() -> None:
    tally = DenialCounts()
    written = sum(tally.take_share(Reason.NO_GRANT, ip_address(n), 0.0) for n in range(100_000))
    assert written == TOTAL_SHARE
    for n in range(100_000):
        tally.count(Reason.NO_GRANT, AccessMethod.CONNECT, ip_address(n), 1.0)
    events = tally.take(60.0, "w")
    assert len(events) == MAX_SOURCES + 1
    assert sum(int(event.fields["count"] or 0) for event in events) == 100_000
    assert events[-1].source == OTHERS


def test_one_ipv6_host_is_one_source_whatever_address_it_takes() -> None:
    assert find_source_network(ip_address("2001:db8::1")) == find_source_network(
        ip_address("2001:db8::ffff:2")
    )
    assert find_source_network(ip_address("2001:db8::1")) == "2001:db8::/64"
    assert find_source_network(ip_address("2001:db8:0:1::1")) != "2001:db8::/64"


def test_each_minute_begins_anew() -> None:
    tally = DenialCounts()
    assert tally.find_due_at() is None
    tally.count(Reason.BAD_REQUEST, AccessMethod.CONNECT, HERE, 5.0)
    tally.count(Reason.BAD_REQUEST, AccessMethod.CONNECT, HERE, 7.0)
    assert tally.find_due_at() == 65.0
    (event,) = tally.take(66.0, "w")
    assert event.fields == {"count": 2, "first_at": 5.0, "last_at": 7.0}
    assert (event.at, event.source, event.reason) == (66.0, "10.0.0.1", "bad_request")
    assert tally.find_due_at() is None
    assert tally.take(67.0, "w") == []


def test_a_clock_that_is_set_back_does_not_stop_the_sums() -> None:
    tally = DenialCounts()
    tally.count(Reason.BAD_REQUEST, AccessMethod.CONNECT, HERE, 10_000.0)
    tally.count(Reason.BAD_REQUEST, AccessMethod.CONNECT, HERE, 100.0)
    assert tally.find_due_at() == 160.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Reason)),
            st.integers(0, 5).map(ip_address),
            st.floats(0, 10_000),
            st.booleans(),
        )
    )
)
def test_no_denial_is_forgotten(
    denials: list[tuple[Reason, object, float, bool]],
) -> None:
    tally = DenialCounts()
    seen = 0
    for reason, address, now, take in denials:
        if tally.take_share(reason, address, now):  # type: ignore[arg-type]  # ip_address's own type
            seen += 1
        else:
            tally.count(reason, AccessMethod.CONNECT, address, now)  # type: ignore[arg-type]  # the same
        if take:
            seen += sum(int(event.fields["count"] or 0) for event in tally.take(now, "w"))
    seen += sum(int(event.fields["count"] or 0) for event in tally.take(0.0, "w"))
    assert seen == len(denials)
