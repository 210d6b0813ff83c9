"""The modules that an administrator's command loads before it does anything."""

import re
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
    *("stagedoor.admin.requests.request_service", "stagedoor.admin.shares"),
    *("stagedoor.authz.explain", "stagedoor.holder.folder", "stagedoor.model.run"),
    *("stagedoor.recording.recorder", "stagedoor.signin.links", "stagedoor.signin.step_up"),
    "stagedoor.wire.ssh.key",
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
        (
            "status",
            [
                "cryptography",
                "stagedoor.holder.folder",
                "stagedoor.model.run",
                "stagedoor.wire.ssh.key",
            ],
        ),
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


BOUNDS = """
import sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
statements = []
event.listen(Engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
sys.argv = ["stagedoor", "--config", {settings!r}, *{line}]
from stagedoor.cli.main import main
try:
    main()
except SystemExit:
    pass
ours = [name for name in sys.modules if name.startswith("stagedoor")]
print("cost", len(ours), len(statements), file=sys.stderr)
print(*ours, *statements, sep="\\n", file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("line", "modules", "statements"),
    [("user list", 124, 27), ("grant list", 123, 24), ("session list", 125, 7)],
)
def test_what_a_list_costs_does_not_grow(
    line: str, modules: int, statements: int, tmp_path: Path
) -> None:
    """Its processor time (0.3 s at most) is for its imports, and then for what it asks the store.

    A change that makes a list load more of Stagedoor, or look more often, has to say why here.
    """
    settings = tmp_path / "stagedoor.toml"
    settings.write_text(f'data_dir = "{tmp_path}/data"\n')
    program = [sys.executable, "-m", "stagedoor", "--config", str(settings)]
    for number in range(3):
        add = ["user", "add", f"user{number}", "--no-password"]
        subprocess.run([*program, *add], check=True)
    subprocess.run([*program, "grant", "add", "user:user1", "app01"], check=True)
    code = BOUNDS.format(settings=str(settings), line=line.split())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    cost = re.search(r"^cost (\d+) (\d+)$", done.stderr, re.MULTILINE)
    assert cost is not None, done.stderr
    assert int(cost[1]) <= modules, done.stderr
    assert int(cost[2]) <= statements, done.stderr
