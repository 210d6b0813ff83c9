"""The modules that an administrator's command loads before it does anything."""

import subprocess
import sys
from pathlib import Path

import pytest

COSTLY = (
    *("argon2", "asyncssh", "cryptography", "jinja2", "joserfc", "rich"),
    *("sqlalchemy.dialects.postgresql", "starlette", "structlog", "uvicorn"),
)
UNUSED = (
    *("pyrage", "stagedoor.admin.apply.act", "stagedoor.admin.hooks.messages"),
    *("stagedoor.admin.requests.request_service", "stagedoor.model.run"),
    *("stagedoor.recording.recorder", "stagedoor.signin.step_up", "stagedoor.wire.ssh.key"),
)
"""Parts of Stagedoor that no list of users, grants or sessions needs."""
COMMANDS = (
    *("grant", "recording", "session", "share", "sign-in", "store", "token"),
    *("user", "web-link"),
)
"""Those that only need the store: no keys, no cluster, no gateway."""
CODE = """
import gc, sys
import click
from stagedoor.cli.app import stagedoor
for command in {commands!r}:
    before = gc.get_stats()
    stagedoor.get_command(click.Context(stagedoor), command)
    collected = [now["collections"] - then["collections"] for now, then in zip(gc.get_stats(), before)]
    costly = sorted(name for name in sys.modules if name in {costly!r})
    print(command, *costly, sum(collected) <= 1, gc.isenabled())
"""


def test_no_command_loads_protocols_or_another_database() -> None:
    """They cost half of the processor time of `stagedoor grant list`.

    Nor does Python look for garbage meanwhile, which costs an eighth.
    """
    code = CODE.format(commands=COMMANDS, costly=COSTLY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{command} True True" for command in COMMANDS]


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("user list", []),
        ("grant list", []),
        ("session list", []),
        # It reads when certificates end, and observes local shells, with their keys and runs.
        ("status", ["cryptography", "stagedoor.model.run", "stagedoor.wire.ssh.key"]),
    ],
)
def test_a_command_loads_none_of_them_later(line: str, needed: list[str], tmp_path: Path) -> None:
    settings = tmp_path / "stagedoor.toml"
    settings.write_text(f'data_dir = "{tmp_path}/data"\n')
    program = [sys.executable, "-m", "stagedoor", "--config", str(settings)]
    subprocess.run([*program, "user", "add", "alice", "--no-password"], check=True)
    code = f"""
import sys
sys.argv = ["stagedoor", "--config", {str(settings)!r}, *{line.split()}]
from stagedoor.cli.main import main
try:
    main()
except SystemExit:
    pass
print(*sorted(name for name in sys.modules if name in {COSTLY + UNUSED!r}), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1].split() == needed, done.stderr
