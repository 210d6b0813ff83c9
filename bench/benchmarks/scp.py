"""The speed of scp with a large file, in both directions."""

import tempfile
from pathlib import Path

from benchmarks.ssh_ways import ssh_ways
from columns import Column, Table
from load.tunnel import LoadError
from peers import PASSWORD
from prompted import prompted
from rounds import rounds
from stage import Stage

TABLE = Table("scp", "scp", "ProxyCommand", (Column("speed", "MB/s", 0, against="direct"),))
LIMIT_S = 300.0
NAMES = ("nc", "stagedoor", "stagedoor --fdpass")
MIB = 1 << 20


def run(stage: Stage) -> None:
    """Measure with files in memory (/dev/shm) if possible, so that no disk is measured."""
    size, repeats = (32 * MIB, 2) if stage.quick else (256 * MIB, 5)
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else stage.folder) as folder,
        ssh_ways(stage, NAMES) as ssh,
    ):
        if ssh is None:
            return
        source, sink = Path(folder) / "source", Path(folder) / "sink"
        with source.open("wb") as file, Path("/dev/urandom").open("rb") as noise:
            for _ in range(size // MIB):
                file.write(noise.read(MIB))
        for up in (True, False):
            case = f"{'up' if up else 'down'}, through {ssh.gateway}"
            stage.report(f"scp: {case}")
            for number, way in rounds(ssh.ways, repeats + 1):
                if stage.has_failed("scp", way.name):
                    continue
                there = f"{ssh.host(way)}:{sink if up else source}"
                ends = [str(source), there] if up else [there, str(sink)]
                sink.unlink(missing_ok=True)
                with stage.tolerating("scp", way.name):
                    seconds = prompted(
                        ["scp", "-q", *ssh.arguments(way), *ends],
                        way.env,
                        PASSWORD,
                        LIMIT_S,
                    )
                    if sink.stat().st_size != size:
                        raise LoadError(f"{sink.stat().st_size} of {size} bytes arrived")
                    if number:  # the first round warms up
                        stage.result.take(
                            "scp", case, way.name, "speed", "MB/s", size / seconds / 1e6
                        )
