"""A shell whose start-up files print something and wait: seen in the terminal, and interrupted there."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from stagedoor.listeners.web.errors import ClientClosedError
from stagedoor.listeners.web.terminal.relay import TerminalRelay
from stagedoor.model.session import EndReason
from stagedoor.wire.terminal.frames import In, Notice, NoticeKind
from tests.fixtures.gateway import open_gateway
from tests.fixtures.terminal import WebTerminal, ticket
from tests.waiting import wait_until
from tests.web.processes import pids_of

WAITS = "echo from-the-file; sleep 304.5; echo went-on\n"
SETTINGS = """
[web]
addresses = ["127.0.0.1:0"]

[[shells.local]]
app = "app01"
login_shell = "/bin/bash"
env = {{ HOME = "{home}" }}
"""


@pytest.fixture
def waiting(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".bashrc").write_text(WAITS)
    (home / ".profile").write_text(". ~/.bashrc\n")
    return home


@pytest.mark.parametrize("command", ["", "tmux mouse"])
def test_it_is_seen_and_can_be_interrupted(tmp_path: Path, waiting: Path, command: str) -> None:
    with open_gateway(tmp_path, SETTINGS.format(home=waiting), "app01") as gateway:
        port = gateway.port("web")
        client = WebTerminal(port)
        client.hello(ticket(port), command, terminal="waits")
        client.shows(b"from-the-file")
        # bash loses an interrupt that comes when sleep is forked and not yet executed.
        wait_until(lambda: pids_of("304.5", program="sleep"))
        client.type(b"\x03")
        client.type(b"echo to''-the-prompt\r")
        client.shows(b"to-the-prompt\r\n")
        assert b"went-on\r\n" not in client.text
        client.type(b"exit\r")
        client.until(lambda: client.exit is not None)
        client.close()


class LostClient:
    """A client that sends input, and whose connection is lost before the answer."""

    async def read(self) -> tuple[In, bytes]:
        return In(0, b"x"), b""

    async def send(self, _frame: object) -> None:
        raise ClientClosedError


async def test_the_loss_of_a_watcher_who_types_is_no_fault() -> None:
    carrier = TerminalRelay(
        LostClient(),
        None,
        None,
        None,
        asyncio.Event(),
        joins_only=True,
        is_watching=True,
        on_people=None,
    )  # type: ignore[arg-type]
    assert await carrier._relay_input(None) == (EndReason.CLOSED, "")  # type: ignore[arg-type]


class Client:
    """Return what the developer reads."""

    def __init__(self) -> None:
        self.said: list[Notice] = []

    async def send(self, notice: Notice) -> None:
        self.said.append(notice)


async def test_on_a_server_what_they_print_is_named_with_what_to_do() -> None:
    """There sshd has a shell run the holder, which comes behind whatever the files print."""
    client = Client()
    carrier = TerminalRelay(
        client,
        None,
        None,
        None,
        asyncio.Event(),
        joins_only=False,
        is_watching=False,
        on_people=None,
    )  # type: ignore[arg-type]
    output = asyncio.StreamReader()
    output.feed_data(b"Welcome to \x1b[1mbuild\x1b[m!\n")
    process = SimpleNamespace(stdout=output)
    await carrier._relay_output(process)  # type: ignore[arg-type]
    [notice] = client.said
    assert notice.kind is NoticeKind.FAULT
    assert "Welcome to" in notice.text
    assert "\x1b" not in notice.text
    assert "~/.bashrc" in notice.text
