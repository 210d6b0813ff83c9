"""The cost of each access method for the gateway, with stock ssh, one worker and the same sshd behind it."""

import contextlib
from collections.abc import Iterator

from columns import Column, Table
from load.channel import Channel, keystrokes, typed
from measure import cpu_s, resident_kib, settled_kib, tree
from peers import MissingError, gateway_ways, sshd
from peers.gateway_ways import WAYS, Gateway
from peers.process import StartError
from rounds import rounds
from series import percentile
from stage import Stage

TABLE = Table(
    "ways",
    "The access methods",
    "way",
    (
        Column("CPU for a GiB up", "s", 2),
        Column("CPU for a login", "ms", 1),
        Column("a keystroke, p50", "µs", 0),
        Column("an idle session", "KiB", 0),
    ),
    plot_columns=True,
)
CASE = "ssh to app01"
ECHO = "stty raw -echo; printf !; exec cat"
DRAIN = "printf !; cat >/dev/null; printf !"
HOLD = "printf !; exec cat"
GIB = 1 << 30
BLOCK = 100


def run(stage: Stage) -> None:
    """Measure bulk data, logins, keystrokes and idle sessions by each access method."""
    size, logins, sessions, repeats = (
        (GIB // 16, 4, 10, 2) if stage.quick else (GIB // 2, 10, 100, 3)
    )
    with _gateway(stage) as gateway:
        if gateway is None:
            return
        for number, way in rounds(WAYS, repeats + 1):
            if number == 0:
                stage.report(f"ways: {way}")
            if stage.has_failed("ways", way):
                continue
            with stage.tolerating("ways", way):
                bulk = _bulk_s(gateway, way, size)
                login = _login_ms(gateway, way, logins)
                if number:  # the first round warms up
                    stage.result.take("ways", CASE, way, "CPU for a GiB up", "s", bulk)
                    stage.result.take("ways", CASE, way, "CPU for a login", "ms", login)
        stage.report("ways: keystrokes")
        _keystrokes(stage, gateway, 2 if stage.quick else 7)
    for _, way in rounds(WAYS, 1):
        # A new gateway for each way, so that nothing from an earlier way is counted.
        with _gateway(stage) as gateway, stage.tolerating("ways", way):
            if gateway is not None:
                stage.report(f"ways: idle sessions, {way}")
                each = _idle_kib(gateway, way, sessions)
                stage.result.take("ways", CASE, way, "an idle session", "KiB", each)


@contextlib.contextmanager
def _gateway(stage: Stage) -> Iterator[Gateway | None]:
    with contextlib.ExitStack() as stack:
        try:
            shell = sshd.start(stage.new_folder("shell"))
            stack.callback(shell.process.stop)
            gateway = gateway_ways.start(stage.new_folder("ways"), shell)
        except (MissingError, StartError) as error:
            stage.note(f"the access methods are left out: {error}")
            yield None
            return
        stack.callback(gateway.process.stop)
        yield gateway


def _used_s(gateway: Gateway) -> float:
    return cpu_s(tree(gateway.process.pid))


def _bulk_s(gateway: Gateway, way: str, size: int) -> float:
    with typed([*gateway.ssh[way], DRAIN]) as channel:
        before = _used_s(gateway)
        channel.drink(size)
        return (_used_s(gateway) - before) / (size / GIB)


def _login_ms(gateway: Gateway, way: str, count: int) -> float:
    before = _used_s(gateway)
    for _ in range(count):
        with typed([*gateway.ssh[way], HOLD]):
            pass
    return (_used_s(gateway) - before) / count * 1e3


def _keystrokes(stage: Stage, gateway: Gateway, repeats: int) -> None:
    with contextlib.ExitStack() as stack:
        terminals: dict[str, Channel] = {}
        for way in WAYS:
            with stage.tolerating("ways", way):
                echo = [*gateway.ssh[way][:-1], "-tt", gateway.ssh[way][-1], ECHO]
                terminals[way] = stack.enter_context(typed(echo))
                keystrokes(terminals[way], BLOCK)
        for _ in range(repeats):
            times: dict[str, list[float]] = {way: [] for way in terminals}
            for _, way in rounds(list(terminals), 20):
                times[way] += keystrokes(terminals[way], BLOCK)
            for way, each in times.items():
                value = percentile(each, 50) * 1e6
                stage.result.take("ways", CASE, way, "a keystroke, p50", "µs", value)


def _idle_kib(gateway: Gateway, way: str, count: int) -> float:
    pid = gateway.process.pid
    with contextlib.ExitStack() as warm:
        for _ in range(5):
            warm.enter_context(typed([*gateway.ssh[way], HOLD]))
    settled_kib(pid)
    before = resident_kib(tree(pid))
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(typed([*gateway.ssh[way], HOLD]))
        settled_kib(pid)
        return (resident_kib(tree(pid)) - before) / count
