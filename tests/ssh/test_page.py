"""The page for logins that name no app: a forced command is none of its own."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from stagedoor.listeners.ssh.page import AppPage, PageParts

SERVICE: Any = AsyncMock(offers=SimpleNamespace(is_concerned=lambda identity: True))


def make_page(force_command: str | None) -> AppPage:
    login: Any = SimpleNamespace(
        gateway_address=("10.0.0.9", 22),
        identity=SimpleNamespace(name="dev"),
        force_command=force_command,
        translate=lambda text: text,
    )
    return AppPage(login, PageParts(sign_ins=SERVICE, requests=SERVICE, runs=SERVICE))


@pytest.mark.parametrize(
    "command", [None, "ls", "cert", "logout", "request withdraw 7", "request app01 a reason"]
)
async def test_a_forced_command_is_not_a_command_of_the_page(command: str | None) -> None:
    SERVICE.reset_mock()
    out, error, status = await make_page("backup").answer(command)
    assert (out, status) == ("", 255)
    assert error == "stagedoor: your certificate permits its own command only\n"
    assert not SERVICE.mock_calls


def test_a_forced_command_opens_no_run() -> None:
    channel: Any = SimpleNamespace(
        get_terminal_type=lambda: None, pause_reading=None, resume_reading=None
    )
    assert make_page("backup").open_runs("run list", channel) is None
