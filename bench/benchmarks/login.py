"""The time of `ssh app01 true` with each ProxyCommand client."""

from benchmarks.ssh_ways import ssh_ways
from columns import Column, Table
from peers import PASSWORD
from prompted import prompted
from rounds import rounds
from stage import Stage
from ways import WAYS

TABLE = Table(
    "login", "`ssh app01 true`", "ProxyCommand", (Column("wall", "ms", 1, against="direct"),)
)
LIMIT_S = 30.0


def run(stage: Stage) -> None:
    """Measure the whole command with each client, in turn."""
    repeats = 2 if stage.quick else 10
    with ssh_ways(stage, list(WAYS)) as ssh:
        if ssh is None:
            return
        stage.report(f"login: through {ssh.gateway}")
        for number, way in rounds(ssh.ways, repeats + 1):
            if stage.has_failed("login", way.name):
                continue
            argv = ["ssh", *ssh.arguments(way), ssh.host(way), "true"]
            with stage.tolerating("login", way.name):
                seconds = prompted(argv, way.env, PASSWORD, LIMIT_S)
                if number:  # the first round warms up
                    stage.result.take(
                        "login", f"through {ssh.gateway}", way.name, "wall", "ms", seconds * 1e3
                    )
