"""Keys that a person types while `stagedoor demo` runs."""

import asyncio
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from stagedoor.demo.network import DemoNetwork
from stagedoor.model.errors import StagedoorError
from stagedoor.serve.upgrade_request import find_gateway, request_upgrade

CUT_KEY = "c"
CUT_S = 5.0
UPGRADE_KEY = "u"


@contextmanager
def read_keys(actions: Mapping[str, Callable[[], None]]) -> Iterator[bool]:
    """Call the action of each key that is typed, until the block ends.

    Yield whether there is a terminal to read. Ctrl-C still interrupts. Called in the event loop.
    """
    if not _is_ours():
        yield False
        return
    before = termios.tcgetattr(0)
    loop = asyncio.get_running_loop()

    def read() -> None:
        for key in os.read(0, 64).decode(errors="replace"):
            if key in actions:
                actions[key]()

    tty.setcbreak(0)
    loop.add_reader(0, read)
    try:
        yield True
    finally:
        loop.remove_reader(0)
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _is_ours() -> bool:
    """Return whether stdin and stdout are a terminal on which this process may read keys."""
    try:
        return sys.stdin.isatty() and sys.stdout.isatty() and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:  # it is not this process's controlling terminal
        return False


class NetworkKey:
    """The key that cuts a network for some seconds. `report` gets a line for each change."""

    def __init__(self, network: DemoNetwork, report: Callable[[str], None]) -> None:
        self._network = network
        self._report = report

    def cut(self) -> None:
        """Cut the network, unless it is cut. Called in the event loop."""
        if not self._network.is_cut:
            self._network.cut()
            self._report(f"the network is cut for {CUT_S:.0f} s; keep typing in ssh")
            asyncio.get_running_loop().call_later(CUT_S, self._mend)

    def _mend(self) -> None:
        self._network.restore()
        self._report("the network is back")


class UpgradeKey:
    """The key that upgrades the gateway to the installed program, which in a demo is the same one.

    `data_dir` and `settings_file` are the gateway's. `report` gets a line for each change.
    """

    def __init__(self, data_dir: Path, settings_file: Path, report: Callable[[str], None]) -> None:
        self._data_dir = data_dir
        self._settings_file = settings_file
        self._report = report
        self._upgrading: asyncio.Task[None] | None = None

    def upgrade(self) -> None:
        """Upgrade the gateway, unless an upgrade is in progress. Called in the event loop."""
        if self._upgrading is None or self._upgrading.done():
            self._upgrading = asyncio.create_task(self._upgrade())

    async def _upgrade(self) -> None:
        self._report("the gateway starts its program again, beside itself")
        try:
            gateway = find_gateway(self._data_dir, str(self._settings_file))
            result = await asyncio.to_thread(request_upgrade, gateway, lambda step: None)
        except StagedoorError as error:
            self._report(str(error))
            return
        self._report(
            f"the new process {result.new.pid} serves after {result.took_s:.1f} s; "
            f"{result.sessions} open in the old one"
        )
