"""The modules that an administrator's command loads before it does anything."""

import subprocess
import sys

import pytest

COSTLY = (
    *("asyncssh", "cryptography", "jinja2", "joserfc", "rich", "sqlalchemy.dialects.postgresql"),
    *("starlette", "structlog", "uvicorn"),
)
COMMANDS = (
    *("grant", "recording", "session", "share", "sign-in", "store", "token"),
    *("user", "web-link"),
)
"""Those that only need the store: no keys, no cluster, no gateway."""
CODE = """
import gc, sys
import click
from stagedoor.cli.app import stagedoor
before = gc.get_stats()
stagedoor.get_command(click.Context(stagedoor), {command!r})
collected = [now["collections"] - then["collections"] for now, then in zip(gc.get_stats(), before)]
print(*sorted(name for name in sys.modules if name in {costly!r}), sum(collected) <= 1, gc.isenabled())
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_loads_neither_protocols_nor_another_database(command: str) -> None:
    """They cost half of the processor time of `stagedoor grant list`.

    Nor does Python look for garbage meanwhile, which costs an eighth.
    """
    code = CODE.format(command=command, costly=COSTLY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
