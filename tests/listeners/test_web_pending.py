"""The connections that are closed when there are too many of strangers."""

import gc
import weakref
from functools import partial

from stagedoor.listeners.web.pending import UnauthenticatedConnections
from stagedoor.model.source import Source, find_source_network


def test_one_that_speaks_counts_among_those_that_speak_and_one_that_has_proved_itself_nowhere() -> (
    None
):
    all_of_them = UnauthenticatedConnections(16)
    source = Source.of("192.0.2.1", 1)
    out: list[int] = []
    connections = []
    for number in range(12):
        arrived = all_of_them.add(source, "192.0.2.1")
        arrived.drop_for_room = lambda number=number: out.append(number)  # type: ignore[misc]
        connections.append(arrived)
    assert out == [0, 1, 2, 3]  # eight of one source
    all_of_them.mark_spoken(connections[4], "192.0.2.1", is_tls=False)
    all_of_them.mark_spoken(connections[5], "192.0.2.1", is_tls=True)
    counts = (len(all_of_them.silent), len(all_of_them.plain), len(all_of_them.tls))
    assert counts == (6, 1, 1)
    connections[4].mark_authenticated()
    connections[5].mark_authenticated()
    assert (len(all_of_them.silent), len(all_of_them.plain), len(all_of_them.tls)) == (6, 0, 0)
    all_of_them.leave(connections[4])


def test_an_ipv6_source_is_its_64() -> None:
    one, two = Source.of("2001:db8:1:2::1", 1), Source.of("2001:db8:1:2:ffff::2", 2)
    assert find_source_network(one.address) == find_source_network(two.address)
    assert find_source_network(one.address) != find_source_network(
        Source.of("2001:db8:1:3::1", 1).address
    )
    assert find_source_network(Source.of("192.0.2.1", 5).address) == "192.0.2.1"


class Tls:
    """The object that a connection holds."""


def test_one_that_has_ended_is_freed_without_the_collector() -> None:
    """TLS holds 50 KiB for each, with which a flood would fill the memory until the collector runs."""
    pending = UnauthenticatedConnections(10)
    one = pending.add(Source.of("192.0.2.1", 1), "192.0.2.1")
    tls = Tls()
    one.drop_for_room = partial(print, one, tls)
    freed = weakref.ref(tls)
    gc.disable()
    try:
        one.release()
        one.release()
        del one, tls
        assert freed() is None
    finally:
        gc.enable()
    assert len(pending.silent) == 0
