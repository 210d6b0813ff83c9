"""Start, replacement, stop and deletion of a shell: the table, and what holds at all times."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.shells.kubernetes.derive.annotations import (
    DEFAULT_SETTINGS,
    AppSettings,
    WrongSettings,
)
from stagedoor.shells.kubernetes.live.lifecycle import (
    IN_USE_S,
    RECHECK_S,
    RENEW_S,
    Activity,
    AskLog,
    Decision,
    Delete,
    Keep,
    LifecycleState,
    Mark,
    OnePod,
    Refuse,
    Replace,
    ScaleToZero,
    ShellStatus,
    StartShell,
    choose_log,
    decide,
    is_running,
    read_activity,
)

NOW = 1_800_000_000.0
SETTINGS = AppSettings(idle_stop_s=1800, idle_delete_s=86400, tmux_grace_s=7200)
WARM = replace(SETTINGS, warm=True)
WRONG = WrongSettings(("annotation … is wrong",), SETTINGS)

IDLE = "Server listening\nstagedoor: idle\n"
BUSY = "stagedoor: idle\nstagedoor: busy sessions=2 tmux=0\nAccepted publickey\n"
TMUX = "stagedoor: busy sessions=1 tmux=0\nstagedoor: busy sessions=0 tmux=1\n"

RUNNING = ShellStatus(replicas=1, template="a", running=True)
BENT = replace(RUNNING, modified=True)
STARTING = ShellStatus(replicas=1, template="a")
STOPPED = ShellStatus(replicas=0, template="a", idle_since=NOW - 100)


def seen(
    shell: ShellStatus | None, ago: float | None = None, log: str | None = None, **more: object
) -> LifecycleState:
    """`ago`: how long before NOW the lease was renewed."""
    given = LifecycleState(
        offered=True,
        settings=SETTINGS,
        template="a",
        renewed_at=None if ago is None else NOW - ago,
        shell=shell,
        log=log,
    )
    return replace(given, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # Nothing is there.
        (seen(None), Keep()),
        (seen(None, ago=0), StartShell()),
        (seen(None, ago=1799), StartShell()),
        (seen(None, ago=1800), Delete()),
        (seen(None, leftovers=True), Delete()),
        (seen(None, settings=WARM), StartShell()),
        (seen(None, ago=0, offered=False), Delete()),
        (seen(None, ago=9, settings=WRONG), Refuse(WRONG.problems, NOW - 9 + 1800)),
        (seen(None, stop_requested=True), Delete()),
        # It starts.
        (seen(STARTING, ago=5), Keep(NOW - 5 + 1800)),
        (seen(STARTING, ago=5, template="b"), Replace()),
        (seen(STARTING, ago=5, settings=WRONG), Refuse(WRONG.problems, NOW - 5 + 1800)),
        (seen(STARTING, ago=1800), ScaleToZero()),
        (seen(STARTING, settings=WARM), Keep()),
        # Another client changed its Deployment.
        (seen(BENT, ago=5), Mark("a", None)),
        (seen(replace(BENT, stale="a"), ago=5), Keep(NOW - 5 + 60)),
        (seen(BENT, ago=900), AskLog()),
        (seen(replace(BENT, stale="a"), ago=900, log=BUSY), Keep(NOW + RECHECK_S)),
        (seen(BENT, ago=900, log=IDLE), Replace()),
        (seen(replace(BENT, running=False), ago=5), Replace()),
        (seen(replace(BENT, replicas=3), ago=5), OnePod()),
        (seen(replace(RUNNING, replicas=2), ago=5), OnePod()),
        (seen(replace(STARTING, replicas=2), ago=5), OnePod()),
        (seen(replace(RUNNING, replicas=2), stop_requested=True), ScaleToZero()),
        # A developer is inside.
        (seen(RUNNING, ago=5), Keep(NOW - 5 + 1800)),
        (seen(RUNNING, ago=IN_USE_S - 1, template="b"), Mark("b", None)),
        (
            seen(replace(RUNNING, stale="b"), ago=5, template="b"),
            Keep(NOW - 5 + IN_USE_S),
        ),
        (seen(replace(RUNNING, stale="b"), ago=5), Mark(None, None)),
        (seen(replace(RUNNING, idle_since=NOW - 9), ago=5), Mark(None, None)),
        (seen(RUNNING, ago=5, settings=WRONG, template=None), Keep(NOW - 5 + 1800)),
        (seen(RUNNING, ago=5, offered=False), Keep(NOW - 5 + IN_USE_S)),
        # No gateway renews, and a new template waits.
        (seen(RUNNING, ago=IN_USE_S, template="b"), AskLog()),
        (seen(RUNNING, ago=IN_USE_S, template="b", log=IDLE), Replace()),
        (seen(RUNNING, ago=IN_USE_S, template="b", log=BUSY), Mark("b", None)),
        (seen(RUNNING, ago=IN_USE_S, template="b", log=TMUX), Mark("b", NOW)),
        (seen(RUNNING, settings=WARM, template="b", log=IDLE), Replace()),
        # The idle time is over.
        (seen(RUNNING, ago=1800), AskLog()),
        (seen(RUNNING, ago=1800, log=IDLE), ScaleToZero()),
        (seen(RUNNING, ago=1800, log=IDLE, template="b"), ScaleToZero()),
        (seen(RUNNING, ago=1800, log=BUSY), Keep(NOW + RECHECK_S)),
        (seen(RUNNING, ago=1800, log=TMUX), Mark(None, NOW)),
        (seen(RUNNING, log=IDLE), ScaleToZero()),
        (seen(RUNNING, ago=1800, settings=WARM), Keep()),
        (
            seen(replace(RUNNING, idle_since=NOW - 7199), ago=9000, log=TMUX),
            Keep(NOW + 1),
        ),
        (
            seen(replace(RUNNING, idle_since=NOW - 600), ago=9000, log=TMUX),
            Keep(NOW + RECHECK_S),
        ),
        (seen(replace(RUNNING, idle_since=NOW - 7200), ago=9000, log=TMUX), ScaleToZero()),
        # A developer came back to the tmux and left it again: its grace begins again.
        (seen(replace(RUNNING, idle_since=NOW - 7200), ago=1800, log=TMUX), Mark(None, NOW)),
        (seen(replace(RUNNING, idle_since=NOW + 99), ago=9000, log=TMUX), Mark(None, NOW)),
        # Sessions that no gateway can renew: the API was away from it.
        (seen(replace(RUNNING, idle_since=NOW - 9999), ago=9999, log=BUSY), Mark(None, None)),
        # Its word is lost: as careful as with a tmux, and not for ever.
        (seen(RUNNING, ago=1800, log=""), Mark(None, NOW)),
        (seen(replace(RUNNING, idle_since=NOW - 7200), ago=9000, log="…"), ScaleToZero()),
        # The offer is withdrawn.
        (seen(RUNNING, offered=False), AskLog()),
        (seen(RUNNING, offered=False, log=IDLE), Delete()),
        (seen(RUNNING, offered=False, log=BUSY), Keep(NOW + RECHECK_S)),
        (seen(STARTING, offered=False), Delete()),
        (seen(STOPPED, offered=False), Delete()),
        # An administrator said stop.
        (seen(RUNNING, stop_requested=True), ScaleToZero()),
        (seen(RUNNING, stop_requested=True, settings=WARM), ScaleToZero()),
        (seen(STOPPED, stop_requested=True, settings=WARM), Keep(NOW - 100 + 86400)),
        # It is stopped.
        (seen(STOPPED), Keep(NOW - 100 + 86400)),
        (seen(STOPPED, ago=1900), Keep(NOW - 100 + 86400)),
        (seen(STOPPED, ago=3), StartShell()),
        (seen(STOPPED, ago=3, settings=WRONG), Refuse(WRONG.problems, NOW - 3 + 1800)),
        (seen(STOPPED, settings=WARM), StartShell()),
        (seen(replace(STOPPED, idle_since=None)), Mark(None, NOW)),
        (seen(replace(STOPPED, idle_since=NOW - 86400)), Delete()),
        (seen(replace(STOPPED, idle_since=NOW + 1e9)), Keep(NOW + 86400)),
        # A gateway's clock is ahead.
        (seen(RUNNING, ago=-1e9), Keep(NOW + 1800)),
    ],
)
def test_the_table(given: LifecycleState, expected: Decision) -> None:
    assert decide(given, NOW) == expected


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", None),
        ("Accepted publickey for dev", None),
        (IDLE, Activity(0, 0)),
        (BUSY, Activity(2, 0)),
        (TMUX, Activity(0, 1)),
        ("stagedoor: busy sessions=1 tmux=0\r\n", Activity(1, 0)),
        ("stagedoor: busy sessions=x tmux=0\n", None),
        ("he said stagedoor: idle\n", None),
    ],
)
def test_the_last_word_of_a_log_counts(log: str, expected: Activity | None) -> None:
    assert read_activity(log) == expected


@pytest.mark.parametrize(
    ("logs", "expected"),
    [((), ""), ((IDLE, BUSY, TMUX), BUSY), ((IDLE, TMUX), TMUX), ((IDLE, ""), ""), ((IDLE,), IDLE)],
)
def test_of_several_logs_the_one_of_a_shell_in_use_counts(
    logs: tuple[str, ...], expected: str
) -> None:
    assert choose_log(logs) == choose_log(reversed(logs)) == expected


def test_a_shell_runs_while_its_container_does_as_far_as_is_known() -> None:
    running = {"containerStatuses": [{"name": "shell", "state": {"running": {}}}]}
    assert is_running([{"metadata": {}, "status": running}])
    assert not is_running([{"metadata": {"deletionTimestamp": "2026-…"}, "status": running}])
    waits = {"containerStatuses": [{"name": "shell", "state": {"waiting": {}}}]}
    assert not is_running([{"metadata": {}, "status": waits}])
    kit = {"containerStatuses": [{"name": "kit", "state": {"running": {}}}]}
    assert not is_running([{"metadata": {}, "status": kit}, {"metadata": {}}])


# --- A model in which time passes, gateways come and go, and the controller decides ----------

TIMES = st.sampled_from([60, 600, 1800, 7200])
CHOICES = st.builds(
    AppSettings,
    idle_stop_s=TIMES,
    idle_delete_s=TIMES,
    tmux_grace_s=st.sampled_from([0, 60, 7200]),
    warm=st.booleans(),
)


@dataclass
class LifecycleModel:
    """One app and its shell. `renewing`: the gateway reaches the API."""

    chosen: AppSettings | WrongSettings
    now: float = NOW
    wanted: str | None = "a"
    offered: bool = True
    renewed_at: float | None = None
    renewing: bool = True
    shell: ShellStatus | None = None
    sessions: int = 0
    tmux: int = 0
    silent: bool = False
    deeds: list[Decision] = field(default_factory=list)

    def log(self) -> str:
        if self.silent:
            return "rotated away\n"
        if not (self.sessions or self.tmux):
            return "stagedoor: idle\n"
        return f"stagedoor: busy sessions={self.sessions} tmux={self.tmux}\n"

    def request_shell(self) -> None:
        self.renewed_at = self.now

    def enter(self) -> None:
        """Log a developer in, if there is a shell to log in to."""
        if self.shell is not None and self.shell.running and self.offered:
            self.sessions += 1
            if self.renewing:
                self.request_shell()

    def tick(self, seconds: float) -> None:
        self.now += seconds
        if self.sessions and self.renewing:
            self.request_shell()
        for _ in range(20):
            if isinstance(self.step(), Keep | Refuse):
                return
        raise AssertionError(f"never comes to rest: {self.deeds[-20:]}")

    def step(self) -> Decision:
        view = LifecycleState(self.offered, self.chosen, self.wanted, self.renewed_at, self.shell)
        deed = decide(view, self.now)
        if isinstance(deed, AskLog):
            assert self.shell is not None
            assert self.shell.running
            deed = decide(replace(view, log=self.log()), self.now)
            assert not isinstance(deed, AskLog)
        self.deeds.append(deed)
        inside = self.sessions
        match deed:
            case StartShell() | Replace():
                assert self.wanted is not None
                self.shell = ShellStatus(1, self.wanted, running=True)
                self.sessions = self.tmux = 0
            case Mark(stale, idle_since):
                assert self.shell is not None
                marked = replace(self.shell, stale=stale, idle_since=idle_since)
                assert marked != self.shell, "a mark that changes nothing is a loop"
                self.shell = marked
            case ScaleToZero():
                assert self.shell is not None
                self.shell = replace(self.shell, replicas=0, running=False, idle_since=self.now)
                self.sessions = self.tmux = 0
            case OnePod():
                assert self.shell is not None
                assert self.shell.replicas > 1, "a correction that corrects nothing is a loop"
                self.shell = replace(self.shell, replicas=1)
            case Delete():
                self.shell = self.renewed_at = None
                self.sessions = self.tmux = 0
        if inside and not self.silent:
            assert not isinstance(deed, StartShell | Replace | ScaleToZero | Delete), (
                f"{deed} with {inside} sessions"
            )
        return deed


DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("tick"), st.sampled_from([1.0, RENEW_S, 59.0, 61.0, 1801.0, 90000.0])),
        st.tuples(st.just("knock"), st.none()),
        st.tuples(st.just("enter"), st.none()),
        st.tuples(st.just("leave"), st.none()),
        st.tuples(st.just("detach"), st.none()),
        st.tuples(st.just("rollout"), st.sampled_from(["a", "b", "c"])),
        st.tuples(st.just("wrong"), st.booleans()),
        st.tuples(st.just("offer"), st.booleans()),
        st.tuples(st.just("cut off"), st.booleans()),
        st.tuples(st.just("crash"), st.none()),
        st.tuples(st.just("bend"), st.sampled_from([1, 3])),
    ),
    max_size=40,
)


def live(model: LifecycleModel, deeds: list[tuple[str, object]], chosen: AppSettings) -> None:
    for deed, how in deeds:
        match deed:
            case "tick":
                assert isinstance(how, float | int)
                model.tick(how)
            case "bend":
                if model.shell is not None and model.shell.replicas:
                    assert isinstance(how, int)
                    model.shell = replace(model.shell, modified=True, replicas=how)
            case "knock":
                model.request_shell()
                model.tick(0)
            case "enter":
                model.enter()
            case "leave":
                model.sessions = max(0, model.sessions - 1)
            case "detach" if model.sessions:
                model.sessions -= 1
                model.tmux += 1
            case "rollout":
                model.wanted = None if isinstance(model.chosen, WrongSettings) else str(how)
            case "wrong":
                model.chosen = WrongSettings(("x",), chosen) if how else chosen
                model.wanted = None if how else model.wanted or "a"
            case "offer":
                model.offered = bool(how)
            case "cut off":
                model.renewing = not how
            case "crash" if model.shell is not None:
                # sshd is gone, and with it a developer who was inside.
                model.shell = replace(model.shell, running=False)
                model.sessions = model.tmux = 0


@given(CHOICES, DEEDS)
@settings(max_examples=100, deadline=None)
def test_a_shell_in_use_is_never_stopped(
    chosen: AppSettings, deeds: list[tuple[str, object]]
) -> None:
    model = LifecycleModel(chosen)
    live(model, deeds, chosen)  # `LifecycleModel.step` asserts it at every deed


@given(CHOICES, DEEDS, st.booleans())
@settings(max_examples=100, deadline=None)
def test_in_the_end_nothing_is_left_when_nobody_comes(
    chosen: AppSettings, deeds: list[tuple[str, object]], silent: bool
) -> None:
    model = LifecycleModel(replace(chosen, warm=False))
    live(model, deeds, replace(chosen, warm=False))
    model.sessions, model.silent = 0, silent
    # However little happens, the controller looks again when it said that it would.
    longest = chosen.idle_stop_s + chosen.tmux_grace_s + chosen.idle_delete_s + 2 * RECHECK_S
    until = model.now + longest + IN_USE_S
    while model.now < until:
        model.tick(0)
        last = model.deeds[-1]
        again = last.recheck_at if isinstance(last, Keep | Refuse) else None
        if model.shell is None and model.renewed_at is None:
            return
        assert again is not None, f"nobody looks again after {last}"
        assert again > model.now, f"{last} is no rest"
        model.now = again
    model.tick(0)
    assert model.shell is None
    assert model.renewed_at is None


@given(CHOICES, st.sampled_from(["b", "c"]), st.integers(1, 200))
@settings(deadline=None)
def test_a_rollout_of_the_app_waits_until_nobody_is_inside(
    chosen: AppSettings, wanted: str, minutes: int
) -> None:
    model = LifecycleModel(chosen)
    model.request_shell()
    model.tick(0)
    model.enter()
    model.wanted = wanted
    for _ in range(minutes):
        model.tick(RENEW_S)
        assert model.shell == ShellStatus(1, "a", stale=wanted, running=True)
    model.sessions = 0
    model.tick(IN_USE_S)
    replaced = ShellStatus(1, wanted, running=True)
    assert model.shell == replaced or (model.shell is not None and model.shell.replicas == 0)
    assert model.shell.replicas == 0 or chosen.warm or chosen.idle_stop_s > IN_USE_S


@given(CHOICES)
def test_a_mended_app_starts_at_once(chosen: AppSettings) -> None:
    broken = ShellStatus(1, "a")
    view = LifecycleState(True, chosen, "b", NOW - 1, broken)
    assert decide(view, NOW) == Replace()


def test_the_defaults_are_what_the_page_says() -> None:
    assert (
        DEFAULT_SETTINGS.idle_stop_s,
        DEFAULT_SETTINGS.idle_delete_s,
        DEFAULT_SETTINGS.tmux_grace_s,
        DEFAULT_SETTINGS.grace_s,
    ) == (30 * 60, 24 * 3600, 8 * 3600, 10 * 60)
