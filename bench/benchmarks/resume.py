"""The cost of resumable tunnels beside tunnels that end with their connection, and how soon they are back."""

import contextlib
import os
import select
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.ssh_ways import Ways, ssh_ways
from columns import Column, Table
from load.channel import Channel, keystrokes, typed
from load.outage import UdpOutage
from load.resumable import back_at_once_s, opened
from load.tunnel import LoadError
from load.upstream import upstream
from measure import PROC, private_kib, tree
from peers import PASSWORD, Door, MissingError, mosh
from peers.process import StartError
from prompted import prompted
from rounds import rounds
from series import percentile
from stage import Stage
from stagedoor.demo.network import DemoNetwork
from ways import WAYS, Way

TABLE = Table(
    "resume",
    "Resumable tunnels",
    "way",
    (
        Column("up", "MB/s", 0, against="nc"),
        Column("down", "MB/s", 0, against="nc"),
        Column("login", "ms", 1, against="stagedoor --no-resume"),
        Column("a keystroke, p50", "µs", 0),
        Column("a keystroke, p99", "µs", 0),
        Column("the client", "MiB", 1),
        Column("the endpoint, a session", "KiB", 1),
        Column("back after 5 s away", "s", 2),
        Column("200 clients back at once", "s", 2),
    ),
    plot_columns=True,
)
NAMES = ("nc", "stagedoor", "stagedoor --no-resume", "stagedoor --fdpass")
OURS = "stagedoor"
CASE = "ssh to app01"
ECHO = "stty raw -echo; printf !; exec cat"
LIMIT_S = 300.0
MIB = 1 << 20
BLOCK = 100


def run(stage: Stage) -> None:
    """Measure one after the other, the ways in turn in each."""
    with ssh_ways(stage, NAMES) as ssh:
        if ssh is None or ssh.gateway != OURS:
            stage.note("resume: left out, since stagedoor was not there")
            return
        _bulk(stage, ssh)
        _logins(stage, ssh)
        _keystrokes(stage, ssh)
        _clients(stage, ssh)
        _back(stage, ssh)
    _many(stage)


def _take(stage: Stage, way: str, measure: str, unit: str, value: float) -> None:
    stage.result.take("resume", CASE, way, measure, unit, value)


def _bulk(stage: Stage, ssh: Ways) -> None:
    """Measure scp with files in memory (/dev/shm) if possible."""
    size, repeats = (16 * MIB, 2) if stage.quick else (256 * MIB, 5)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else stage.folder) as folder:
        source, sink = Path(folder) / "source", Path(folder) / "sink"
        source.write_bytes(os.urandom(size))
        for measure in ("up", "down"):
            stage.report(f"resume: scp {measure}")
            for number, way in rounds(ssh.ways, repeats + 1):
                there = f"{ssh.host(way)}:{sink if measure == 'up' else source}"
                ends = [str(source), there] if measure == "up" else [there, str(sink)]
                sink.unlink(missing_ok=True)
                with _tolerating(stage, way.name):
                    argv = ["scp", "-q", *ssh.arguments(way), *ends]
                    seconds = prompted(argv, way.env, PASSWORD, LIMIT_S)
                    if sink.stat().st_size != size:
                        raise LoadError(f"{sink.stat().st_size} of {size} bytes arrived")
                    if number:  # the first round warms up
                        _take(stage, way.name, measure, "MB/s", size / seconds / 1e6)


def _logins(stage: Stage, ssh: Ways) -> None:
    stage.report("resume: logins")
    for number, way in rounds(ssh.ways, 3 if stage.quick else 21):
        with _tolerating(stage, way.name):
            argv = ["ssh", *ssh.arguments(way), ssh.host(way), "true"]
            seconds = prompted(argv, way.env, PASSWORD, LIMIT_S)
            if number:
                _take(stage, way.name, "login", "ms", seconds * 1e3)


def _keystrokes(stage: Stage, ssh: Ways) -> None:
    """Measure all but nc, which reads a password from a terminal of its own."""
    stage.report("resume: keystrokes")
    repeats, blocks = (2, 5) if stage.quick else (6, 20)
    with contextlib.ExitStack() as stack:
        terminals: dict[str, Channel] = {}
        for way in ssh.ways:
            if way.name != "nc":
                with _tolerating(stage, way.name):
                    terminals[way.name] = stack.enter_context(typed(_echo(ssh, way)))
                    keystrokes(terminals[way.name], BLOCK)
        for _ in range(repeats):
            times: dict[str, list[float]] = {name: [] for name in terminals}
            for _, name in rounds(list(terminals), blocks):
                times[name] += keystrokes(terminals[name], BLOCK)
            for name, each in times.items():
                for percent in (50, 99):
                    value = percentile(each, percent) * 1e6
                    _take(stage, name, f"a keystroke, p{percent}", "µs", value)


def _clients(stage: Stage, ssh: Ways) -> None:
    """Measure the most memory of the client (VmHWM) with 64 MiB of output, and the endpoint's growth."""
    stage.report("resume: memory")
    flood = f"stty raw -echo; printf !; head -c {64 * MIB} /dev/zero; exec cat"
    for way in ssh.ways:
        if not way.name.startswith(OURS) or way.name.endswith("--fdpass"):
            continue
        with _tolerating(stage, way.name), typed(_echo(ssh, way, flood)) as channel:
            _read(channel.stdout, 64 * MIB)
            client = next(pid for pid in tree(os.getpid()) if _runs(pid, b"tunnel"))
            _take(stage, way.name, "the client", "MiB", _peak_kib(client) / 1024)
    ours = next(way for way in ssh.ways if way.name == OURS)
    count = 10 if stage.quick else 100
    with _tolerating(stage, OURS), contextlib.ExitStack() as stack:
        for _ in range(count):  # these take what the floods before have left to the allocator
            stack.enter_context(typed(_echo(ssh, ours)))
        endpoint = _endpoint(stage)
        before = private_kib([endpoint])
        for _ in range(count):
            stack.enter_context(typed(_echo(ssh, ours)))
        each = (private_kib([endpoint]) - before) / count
        _take(stage, OURS, "the endpoint, a session", "KiB", each)


def _back(stage: Stage, ssh: Ways) -> None:
    """Measure from the return of the network until the echo of a key that was typed meanwhile."""
    away_s, repeats = (1.0, 1) if stage.quick else (5.0, 5)
    for _ in range(repeats):
        with _tolerating(stage, OURS), contextlib.ExitStack() as stack:
            stage.report("resume: back after a cut")
            network = DemoNetwork(ssh.door.address[1])
            stack.callback(network.close_network)
            door = replace(ssh.door, address=("127.0.0.1", network.port))
            way = WAYS[OURS](door, stage.new_folder("cut"))
            channel = stack.enter_context(typed(_echo(ssh, way)))
            keystrokes(channel, 3)
            seconds = _away(network, away_s, channel.stdin, channel.stdout)
            _take(stage, OURS, "back after 5 s away", "s", seconds)
        with _mosh(stage) as terminal:
            if terminal is not None:
                seconds = _away(terminal[1], away_s, terminal[0], terminal[0])
                _take(stage, "mosh", "back after 5 s away", "s", seconds)


@contextlib.contextmanager
def _mosh(stage: Stage) -> Iterator[tuple[int, UdpOutage] | None]:
    with contextlib.ExitStack() as stack:
        try:
            terminal, relay, version = stack.enter_context(mosh.running("stty raw -echo; exec cat"))
        except (MissingError, StartError) as error:
            stage.note(f"mosh is left out: {error}")
            yield None
            return
        stage.result.machine.setdefault("peer mosh", f"{version}; logs nothing")
        _await_echo(terminal, terminal, b"a")
        yield terminal, relay


def _away(network: DemoNetwork | UdpOutage, away_s: float, typed_at: int, shown_at: int) -> float:
    network.cut()
    os.write(typed_at, b"z")
    time.sleep(away_s)  # the length of the outage is what is measured
    begin = time.perf_counter()
    network.restore()
    _until(shown_at, b"z")
    return time.perf_counter() - begin


def _await_echo(typed_at: int, shown_at: int, key: bytes) -> None:
    os.write(typed_at, key)
    _until(shown_at, key)


def _until(fd: int, wanted: bytes) -> None:
    """Read until the bytes come. Raises LoadError."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while poll.poll(LIMIT_S * 1e3):
        read = os.read(fd, 65536)
        if wanted in read:
            return
        if not read:
            break
    raise LoadError(f"{wanted!r} never came")


def _many(stage: Stage) -> None:
    """Measure 200 clients that come back at once, with the gateway and the endpoint on one core."""
    count, repeats = (20, 1) if stage.quick else (200, 5)
    with upstream() as port, stage.peers({"load": port}, names=(OURS,)) as peers:
        for peer in peers:
            with _tolerating(stage, OURS):
                stage.report(f"resume: {count} clients at once")
                door: Door = peer.doors["load"]
                opened(door, 1)  # so that the endpoint runs
                assert peer.pid is not None, "it is a program"
                for pid in (*tree(peer.pid), _endpoint(stage)):
                    _pin(pid)
                clients = opened(door, count)
                for _ in range(repeats):
                    _take(stage, OURS, "200 clients back at once", "s", back_at_once_s(clients))


def _pin(pid: int) -> None:
    """Let a process, with all its threads, run on the first core only."""
    core = min(os.sched_getaffinity(0))
    for thread in (PROC / str(pid) / "task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def _echo(ssh: Ways, way: Way, command: str = ECHO) -> list[str]:
    return ["ssh", *ssh.arguments(way), "-tt", ssh.host(way), command]


def _tolerating(stage: Stage, way: str) -> contextlib.AbstractContextManager[None]:
    return stage.tolerating("resume", way)


def _read(fd: int, size: int) -> None:
    while size > 0:
        read = len(os.read(fd, 1 << 20))
        if not read:
            raise LoadError(f"hung up with {size} bytes left")
        size -= read


def _endpoint(stage: Stage) -> int:
    """Return the newest endpoint of this run, whose process belongs to no tree. Raises LoadError."""
    every = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
    pids = [pid for pid in every if _serves(pid, str(stage.folder))]
    if not pids:
        raise LoadError("no endpoint runs")
    return max(pids, key=_began)


def _serves(pid: int, folder: str) -> bool:
    """Return whether a process is the endpoint of a gateway in this folder."""
    with contextlib.suppress(OSError):
        words = (PROC / str(pid) / "cmdline").read_text().split("\0")
        return "stagedoor.resume" in words and any(word.startswith(folder) for word in words)
    return False


def _began(pid: int) -> int:
    return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])


def _runs(pid: int, word: bytes) -> bool:
    with contextlib.suppress(OSError):
        return word in (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    return False


def _peak_kib(pid: int) -> float:
    for line in (PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1])
    raise LoadError("the client has ended")
