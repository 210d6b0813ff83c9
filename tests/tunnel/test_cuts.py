"""Whatever is cut: each local side gets exactly the bytes that the other one sent, and then their end."""

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tunnel.ends import End, KitEnd, PythonEnd

_ALL = 1 << 22
_TURNS = 200

actions = st.one_of(
    st.tuples(st.just("take"), st.integers(0, 1), st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("take"), st.integers(0, 1), st.integers(1, 200_000)),
    st.tuples(st.just("take_end"), st.integers(0, 1)),
    st.tuples(st.just("write"), st.integers(0, 1), st.integers(1, 100_000)),
    st.tuples(st.just("arrive"), st.integers(0, 1), st.integers(1, 100_000)),
    st.tuples(st.just("deliver"), st.integers(0, 1), st.integers(1, 100_000)),
    st.tuples(st.just("cut"), st.integers(0, 200_000), st.integers(0, 200_000)),
    st.tuples(st.just("later"), st.integers(1, 3000)),
)


@dataclass
class Tunnel:
    """Two ends, and the bytes between them."""

    ends: tuple[End, End]
    now: int = 0
    taken: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    got: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    flying: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    """What each end has written, and the other one has not received."""
    closed: list[bool] = field(default_factory=lambda: [False, False])
    got_end: list[bool] = field(default_factory=lambda: [False, False])
    seed: int = 0

    def connect(self) -> None:
        for end in self.ends:
            end.connect(self.now)

    def take(self, side: int, data: bytes | int) -> None:
        if isinstance(data, int):
            self.seed += 1
            data = (self.seed % 251).to_bytes(1, "big") * data
        data = data[: self.ends[side].state(self.now).room]
        self.ends[side].take(data)
        self.taken[side].extend(data)

    def take_end(self, side: int) -> None:
        self.ends[side].take_end()
        self.closed[side] = True

    def write(self, side: int, count: int) -> None:
        self.flying[side].extend(self.ends[side].output(self.now, count))

    def arrive(self, side: int, count: int) -> None:
        data = bytes(self.flying[side][:count])
        del self.flying[side][:count]
        assert self.ends[1 - side].receive(self.now, data)

    def deliver(self, side: int, count: int) -> None:
        self.got[side].extend(self.ends[side].deliver(self.now, count))
        if self.ends[side].state(self.now).end_is_deliverable:
            self.ends[side].deliver_end(self.now)
            self.got_end[side] = True

    def cut(self, *arrived: int) -> None:
        """Cut the connection after some of the bytes in flight have arrived, and make a new one."""
        for side, count in enumerate(arrived):
            self.arrive(side, count)
            self.flying[side].clear()
        for end in self.ends:
            end.cut()
        self.connect()

    def later(self, ms: int) -> None:
        self.now += ms

    def run_dry(self) -> None:
        """Move everything until both ends are finished."""
        for side in (0, 1):
            self.take_end(side)
        for _ in range(_TURNS):
            for side in (0, 1):
                self.write(side, _ALL)
                self.arrive(side, _ALL)
                self.deliver(side, _ALL)
            self.later(100)
            if all(end.state(self.now).is_finished for end in self.ends):
                return
        raise AssertionError([end.state(self.now) for end in self.ends])


def check(ends: tuple[End, End], steps: list[tuple[object, ...]]) -> None:
    for end in ends:
        end.new(False)
    tunnel = Tunnel(ends)
    tunnel.connect()
    for name, *arguments in steps:
        getattr(tunnel, str(name))(*arguments)
        for side in (0, 1):
            assert tunnel.taken[1 - side].startswith(tunnel.got[side])
    tunnel.run_dry()
    assert tunnel.got == tunnel.taken[::-1]
    assert tunnel.got_end == [True, True]


@given(st.lists(actions, max_size=40))
def test_no_byte_is_lost_or_repeated(steps: list[tuple[object, ...]]) -> None:
    check((PythonEnd(), PythonEnd()), steps)


@pytest.mark.parametrize("client_is_first", [True, False])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(actions, max_size=25))
def test_no_byte_is_lost_or_repeated_between_the_client_and_the_kit(
    kit_end: KitEnd, client_is_first: bool, steps: list[tuple[object, ...]]
) -> None:
    ends: tuple[End, End] = (PythonEnd(), kit_end)
    check(ends if client_is_first else ends[::-1], steps)


def test_a_cut_after_any_byte() -> None:
    """Cut one exchange after each of its bytes, in each direction."""
    for after in range(140):
        tunnel = Tunnel((PythonEnd(), PythonEnd()))
        tunnel.connect()
        tunnel.take(0, b"from the client")
        tunnel.take(1, b"from the shell")
        for side in (0, 1, 0, 1):
            tunnel.write(side, _ALL)
            if side == after % 2:
                tunnel.cut(*((after // 2, _ALL) if side == 0 else (_ALL, after // 2)))
            tunnel.arrive(side, _ALL)
        tunnel.run_dry()
        assert tunnel.got == tunnel.taken[::-1]
