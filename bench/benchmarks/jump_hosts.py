"""The jump hosts that the jump benchmarks compare, side by side in front of one upstream."""

import contextlib
from collections.abc import Iterator, Sequence

from load.upstream import upstream
from peers import MissingError, sshd
from peers.jumps import JUMPS, Behind, Jump
from peers.process import StartError
from stage import Stage


@contextlib.contextmanager
def jump_hosts(stage: Stage, names: Sequence[str] = tuple(JUMPS)) -> Iterator[list[Jump]]:
    """Start the jump hosts of `names` that are installed; note the missing ones."""
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(upstream())
        jumps: list[Jump] = []
        try:
            shell = sshd.start(stage.new_folder("shell"))
        except (MissingError, StartError) as error:
            stage.note(f"the jump hosts are left out: {error}")
            yield jumps
            return
        stack.callback(shell.process.stop)
        for name in names:
            try:
                jump = JUMPS[name](stage.new_folder(f"jump-{name}"), Behind(port, shell))
            except (MissingError, StartError) as error:
                stage.note(f"{name} as a jump host is left out: {error}")
                continue
            stack.callback(jump.process.stop)
            jumps.append(jump)
            stage.result.machine.setdefault(f"jump {name}", f"{jump.version}; logs {jump.logs}")
        yield jumps
