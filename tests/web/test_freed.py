"""The memory of a session: freed when it ends, since thousands may end at once and come back."""

import gc
from pathlib import Path

from stagedoor.listeners.limits import ClientLimits
from stagedoor.listeners.ssh.connection import ClientConnection
from stagedoor.listeners.web.terminal.session import TerminalSession
from stagedoor.upstream.connection import ShellConnection
from stagedoor.upstream.session import ShellSession
from tests.fixtures.gateway import SSH_TABLE
from tests.fixtures.laptop import open_laptop
from tests.fixtures.terminal import WebTerminal, ticket
from tests.waiting import wait_until
from tests.web.conftest import SETTINGS

KINDS = (ClientConnection, ShellConnection, ShellSession, TerminalSession)


def kept() -> list[str]:
    return [type(thing).__name__ for thing in gc.get_objects() if type(thing) in KINDS]


def test_what_has_ended_is_freed_without_the_collector(tmp_path: Path) -> None:
    """The collector looks seldom, and what many sessions took together is not given back to the system."""
    with open_laptop(tmp_path, SETTINGS + SSH_TABLE, limits=ClientLimits()) as laptop:
        port = laptop.gateway.port("web")
        gc.collect()
        gc.disable()
        try:
            for _ in range(2):
                terminal = WebTerminal(port)
                terminal.hello(ticket(port))
                assert {"ShellConnection", "ShellSession", "TerminalSession"} <= set(kept())
                terminal.close()
            laptop.ssh("-l", "app01", "gw", "true", check=True)
            laptop.ssh("-W", "app01-ssh:22", "gw", check=True)
            wait_until(lambda: not kept())
        finally:
            gc.enable()
