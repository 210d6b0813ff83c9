"""The fleet of workers by values alone: events and times in, actions out. No process, no clock."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.session import STOPPING
from stagedoor.serve.supervisor import fleet
from stagedoor.serve.supervisor.control import Close, Drain, DrainReport, Failed, Up
from stagedoor.serve.supervisor.fleet import (
    CLOSE_GRACE_S,
    RETIRE_S,
    SHUT_TIMEOUT_S,
    START_TIMEOUT_S,
    Fleet,
)
from stagedoor.serve.supervisor.fleet_events import (
    Action,
    CannotRestart,
    Event,
    Exited,
    FleetPlan,
    InForce,
    Kill,
    Launch,
    News,
    OldClosed,
    Publish,
    Refused,
    Retire,
    SendMessage,
    Spawn,
    SpawnFailed,
    Stop,
    Stopped,
    Tick,
    WorkerDrains,
    WorkerExited,
    WorkerFailed,
    WorkerMessage,
)

DRAIN_S = 30.0


@dataclass
class Driven:
    """A fleet with a clock of the test's."""

    fleet: Fleet = field(default_factory=Fleet)
    now: float = 1000.0

    def does(self, event: Event) -> list[Action]:
        return self.fleet.handle_event(event, self.now)

    def after(self, seconds: float) -> list[Action]:
        self.now += seconds
        return self.does(Tick())

    def launch(self, workers: int = 2) -> list[int]:
        """A launch whose workers all come up; their numbers."""
        spawned = [a.worker for a in self.does(Launch(FleetPlan(workers, DRAIN_S))) if is_spawn(a)]
        for number in spawned:
            self.does(WorkerMessage(number, Up()))
        assert self.fleet.accepting == workers
        return spawned


def is_spawn(action: Action) -> bool:
    return isinstance(action, Spawn)


def news(actions: list[Action]) -> list[News]:
    return [action.news for action in actions if isinstance(action, Publish)]


def test_a_generation_is_in_force_once_every_worker_of_it_accepts() -> None:
    driven = Driven()
    assert driven.does(Launch(FleetPlan(2, DRAIN_S))) == [Spawn(1, 0, 1), Spawn(2, 1, 1)]
    assert driven.does(WorkerMessage(2, Up())) == []
    assert driven.fleet.accepting == 0, "none of it counts before all of it does"
    assert news(driven.does(WorkerMessage(1, Up()))) == [InForce(0), OldClosed()]
    assert driven.fleet.accepting == 2
    assert driven.fleet.next_at is None


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([SpawnFailed(1, "a worker cannot be started: x")], "a worker cannot be started: x"),
        ([WorkerMessage(1, Failed("tunnel.addresses: x")), Exited(1, 2)], "tunnel.addresses: x"),
        ([Exited(1, -9)], "a worker ended with code -9 as it started"),
        (
            [WorkerMessage(1, Up()), Exited(1, 1)],
            "a worker ended as it started; its log lines say why",
        ),
    ],
)
def test_a_launch_that_fails_is_refused_and_what_it_started_is_closed(
    events: list[Event], reason: str
) -> None:
    driven = Driven()
    driven.does(Launch(FleetPlan(2, DRAIN_S)))
    actions = [action for event in events for action in driven.does(event)]
    assert Publish(Refused(reason)) in actions
    assert [action for action in actions if isinstance(action, SendMessage)] == [
        SendMessage(2, Close())
    ]
    assert not any(isinstance(entry, WorkerFailed) for entry in news(actions))
    assert driven.after(CLOSE_GRACE_S) == [Kill(2)]
    assert news(driven.does(Exited(2, -9))) == [WorkerExited(2)]
    assert driven.fleet.died == 0


def test_a_worker_that_is_not_ready_in_time_refuses_the_launch() -> None:
    driven = Driven()
    driven.does(Launch(FleetPlan(1, DRAIN_S)))
    assert driven.after(START_TIMEOUT_S - 1) == []
    assert news(driven.after(1)) == [Refused("a worker was not ready within 60 s")]


def test_a_reload_drains_the_old_workers_once_the_new_ones_accept() -> None:
    driven = Driven()
    assert driven.launch() == [1, 2]
    driven.does(Launch(FleetPlan(1, DRAIN_S)))
    assert driven.fleet.accepting == 2, "the old ones go on until the new one is there"
    assert driven.does(WorkerMessage(3, Up())) == [
        Publish(InForce(2)),
        SendMessage(1, Drain(None)),
        SendMessage(2, Drain(None)),
    ]
    assert driven.fleet.accepting == 1
    assert news(driven.does(WorkerMessage(1, DrainReport(4)))) == [WorkerDrains(1, 4)]
    assert driven.does(WorkerMessage(1, DrainReport(4))) == [], "only told when it changes"
    assert news(driven.does(Exited(2, 0))) == [WorkerExited(2), OldClosed()]
    assert driven.fleet.sessions_left == 4
    assert driven.after(3600 * 24) == [], "who is inside has all the time"


def test_an_old_worker_that_never_shuts_holds_a_reload_up_for_a_bounded_time() -> None:
    driven = Driven()
    driven.launch(1)
    driven.does(Launch(FleetPlan(1, DRAIN_S)))
    driven.does(WorkerMessage(2, Up()))
    assert driven.after(SHUT_TIMEOUT_S) == [Publish(OldClosed())]


def test_a_reload_that_is_refused_leaves_the_generation_in_force() -> None:
    driven = Driven()
    driven.launch(1)
    driven.does(Launch(FleetPlan(1, DRAIN_S)))
    assert Publish(Refused("no")) in driven.does(SpawnFailed(2, "no"))
    assert (driven.fleet.generation, driven.fleet.accepting) == (1, 1)
    assert is_spawn(driven.does(Launch(FleetPlan(1, DRAIN_S)))[0]), "another may be tried"


def test_a_worker_that_dies_is_replaced_each_time_after_a_longer_delay() -> None:
    driven = Driven()
    [number] = driven.launch(1)
    for deaths in (1, 2, 3):
        delay_s = fleet.choose_delay_s(deaths)
        assert news(driven.does(Exited(number, -11))) == [
            WorkerExited(number),
            WorkerFailed(number, -11, None, delay_s),
        ]
        assert driven.after(delay_s / 2) == []
        number += 1
        assert driven.after(delay_s) == [Spawn(number, 0, 1)]
        driven.does(WorkerMessage(number, Up()))
    driven.now += fleet.GOOD_LIFE_S
    died = news(driven.does(Exited(number, 1)))
    assert died[1:] == [WorkerFailed(number, 1, None, fleet.FIRST_DELAY_S)], "it had lived well"
    assert driven.fleet.died == 4


def test_a_slot_whose_process_cannot_be_started_is_tried_again() -> None:
    driven = Driven()
    driven.launch(1)
    driven.does(Exited(1, -9))
    driven.after(fleet.choose_delay_s(1))
    delay_s = fleet.choose_delay_s(2)
    assert news(driven.does(SpawnFailed(2, "no memory"))) == [CannotRestart("no memory", delay_s)]
    assert driven.after(delay_s) == [Spawn(3, 0, 1)]


def test_one_that_died_is_not_replaced_once_a_reload_has_filled_its_slot() -> None:
    driven = Driven()
    driven.launch(1)
    driven.does(Launch(FleetPlan(1, DRAIN_S)))
    driven.does(Exited(1, -9))
    driven.does(WorkerMessage(2, Up()))
    assert driven.after(fleet.LONGEST_DELAY_S) == []


def test_one_that_was_replaced_during_a_launch_is_drained_with_its_generation() -> None:
    driven = Driven()
    driven.launch(1)
    driven.does(Launch(FleetPlan(1, DRAIN_S)))
    driven.does(Exited(1, -9))
    assert driven.after(fleet.choose_delay_s(1)) == [Spawn(3, 0, 1)]
    assert SendMessage(3, Drain(None)) in driven.does(WorkerMessage(2, Up()))


def test_a_stop_drains_then_kills_what_does_not_end() -> None:
    driven = Driven()
    driven.launch(2)
    assert driven.does(Stop()) == [SendMessage(1, Drain(DRAIN_S)), SendMessage(2, Drain(DRAIN_S))]
    assert news(driven.does(Exited(1, 0))) == [WorkerExited(1)], "no death, and none is started"
    assert driven.after(DRAIN_S + CLOSE_GRACE_S) == [Kill(2)]
    assert driven.after(3600) == [], "once"
    assert news(driven.does(Exited(2, -9))) == [WorkerExited(2), Stopped()]


def test_a_second_stop_closes_at_once_and_kills_sooner() -> None:
    driven = Driven()
    driven.launch(1)
    driven.does(Stop())
    assert driven.does(Stop()) == [SendMessage(1, Close())]
    assert driven.after(CLOSE_GRACE_S) == [Kill(1)]


def test_a_stop_during_a_launch_refuses_it_and_starts_nobody_any_more() -> None:
    driven = Driven()
    driven.launch(1)
    driven.does(Launch(FleetPlan(1, DRAIN_S)))
    driven.does(Exited(1, -9))
    actions = driven.does(Stop())
    assert actions == [Publish(Refused(STOPPING)), SendMessage(2, Close())]
    assert driven.after(fleet.LONGEST_DELAY_S)[-1:] == [Kill(2)]
    assert Publish(Stopped()) in driven.does(Exited(2, -9))
    assert driven.does(Launch(FleetPlan(1, DRAIN_S))) == [Publish(Refused(STOPPING))]


def test_a_stop_with_nobody_there_is_over_at_once() -> None:
    assert news(Driven().does(Stop())) == [Stopped()]


def test_one_that_drains_since_a_reload_has_the_whole_drain_time_at_the_stop() -> None:
    driven = Driven()
    driven.launch(1)
    driven.does(Launch(FleetPlan(1, DRAIN_S)))
    driven.does(WorkerMessage(2, Up()))
    driven.does(WorkerMessage(1, DrainReport(1)))
    assert SendMessage(1, Drain(DRAIN_S)) in driven.does(Stop())


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5), st.floats(0, 90)), max_size=60))
def test_whatever_happens_it_stops_and_no_slot_of_a_generation_has_two(
    steps: list[tuple[int, int, float]],
) -> None:
    driven = Driven()
    living: dict[int, Spawn] = {}
    in_launch = False

    def does(event: Event) -> None:
        nonlocal in_launch
        if isinstance(event, Launch):
            in_launch = True
        for action in driven.does(event):
            match action:
                case Spawn():
                    places = [
                        (living_worker.generation, living_worker.slot)
                        for living_worker in living.values()
                    ]
                    assert (action.generation, action.slot) not in places
                    assert not driven.fleet.is_stopping
                    living[action.worker] = action
                case SendMessage(number) | Kill(number):
                    assert number in living, "nobody tells a worker that is gone"
                case Publish(InForce() | Refused()):
                    assert in_launch
                    in_launch = False

    for what, which, seconds in steps:
        driven.now += seconds
        worker = sorted(living)[which % len(living)] if living else None
        if what == 0 and not in_launch:
            does(Launch(FleetPlan(which + 1, DRAIN_S)))
        elif what == 1 and seconds > 80:
            does(Stop())
        elif what == 2 and worker is not None:
            del living[worker]
            does(Exited(worker, which))
        elif what == 3 and worker is not None:
            del living[worker]
            does(SpawnFailed(worker, "no"))
        elif what in (4, 5) and worker is not None:
            does(WorkerMessage(worker, Up() if what == 4 else DrainReport(which)))
        else:
            does(Tick())
    does(Stop())
    for worker in list(living):
        del living[worker]
        does(Exited(worker, 0))
    assert driven.fleet.accepting == 0
    assert driven.fleet.next_at is None or driven.after(100) == []


def retire(driven: Driven, *, keeps_connections: bool = True) -> list[Action]:
    return driven.does(Retire(keeps_connections))


def test_a_hand_over_drains_every_worker_for_a_week_and_starts_none() -> None:
    driven = Driven()
    one, two = driven.launch()
    drain = Drain(RETIRE_S, keeps_connections=True)
    assert retire(driven) == [SendMessage(one, drain), SendMessage(two, drain)]
    driven.does(WorkerMessage(one, DrainReport(3)))
    assert OldClosed() in news(driven.does(WorkerMessage(two, DrainReport(0))))
    assert driven.fleet.sessions_left == 3
    assert news(driven.does(Exited(two, 1))) == [WorkerExited(two)]
    assert driven.after(fleet.LONGEST_DELAY_S) == [], "it is not restarted"
    assert driven.after(RETIRE_S + CLOSE_GRACE_S) == [Kill(one)]
    assert news(driven.does(Exited(one, -9))) == [WorkerExited(one), Stopped()]


def test_a_worker_that_waits_for_its_restart_is_not_started_after_a_hand_over() -> None:
    driven = Driven()
    one, _ = driven.launch()
    driven.does(Exited(one, 1))
    retire(driven)
    assert not any(map(is_spawn, driven.after(fleet.LONGEST_DELAY_S)))


def test_a_stop_after_a_hand_over_gives_sessions_the_usual_time() -> None:
    driven = Driven()
    [one] = driven.launch(1)
    retire(driven)
    assert driven.does(Stop()) == [SendMessage(one, Drain(DRAIN_S))]
    assert driven.does(Stop()) == [SendMessage(one, Close())]
    assert Stopped() in news(driven.does(Exited(one, 0)))


def test_no_launch_follows_a_hand_over_that_left_no_worker() -> None:
    driven = Driven()
    [one] = driven.launch(1)
    driven.does(Exited(one, 1))
    assert set(news(retire(driven))) == {OldClosed(), Stopped()}


def test_a_reload_with_the_same_settings_leaves_connections_as_they_are() -> None:
    for keeps in (True, False):
        driven = Driven()
        [one] = driven.launch(1)
        [spawn] = driven.does(Launch(FleetPlan(1, DRAIN_S), keeps_connections=keeps))
        assert isinstance(spawn, Spawn)
        actions = driven.does(WorkerMessage(spawn.worker, Up()))
        assert SendMessage(one, Drain(None, keeps)) in actions
