"""The lines of the page that installs the client, pasted into the shells that people have."""

import html
import os
import re
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.gateway import Gateway, open_gateway
from tests.fixtures.shell import InteractiveShell
from tests.login.conftest import settings

PASTE, PASTE_END = "\x1b[200~", "\x1b[201~"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway at an IPv6 address, whose brackets are a pattern to zsh."""
    at_ipv6 = settings().replace('[web]\naddresses = ["127.0.0.1:', '[web]\naddresses = ["[::1]:')
    with open_gateway(tmp_path_factory.mktemp("ipv6"), at_ipv6, "app01") as gateway:
        yield gateway


@pytest.mark.parametrize("name", ["sh", "bash", "zsh", "fish"])
def test_the_lines_work_in_an_interactive_shell(
    name: str, gateway: Gateway, tmp_path: Path
) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"as root: apt-get install {name}")
    with urllib.request.urlopen(f"http://[::1]:{gateway.port('web')}/client") as answer:
        page = answer.read().decode()
    lines = [html.unescape(line) for line in re.findall(r"<code>([^<]+)</code> <button", page)]
    (tmp_path / ".zshrc").touch()  # without one zsh asks a newcomer what to do
    shell = InteractiveShell(name, tmp_path)
    try:
        for line, outcome in zip(lines, (rb"stagedoor\.new: OK", rb"/login/[\w-]+"), strict=True):
            if name != "sh":
                shell.until(rb"\x1b\[\?2004h")
                line = f"{PASTE}{line}{PASTE_END}"
            shell.type(line + "\r")
            shell.until(outcome)
    finally:
        shell.close_terminal()
    assert os.access(tmp_path / ".local/bin/stagedoor", os.X_OK)
