"""The modules that an administrator's command loads before it does anything."""

import subprocess
import sys

COSTLY = ("asyncssh", "cryptography", "rich", "starlette", "structlog", "uvicorn")
CODE = """
import sys
import stagedoor.cli.grant, stagedoor.cli.user
print(*sorted(name for name in sys.modules if name in {costly!r} or name == "sqlalchemy.dialects.postgresql"))
"""


def test_a_command_loads_neither_protocols_nor_another_database() -> None:
    """They cost half of the processor time of `stagedoor grant list`."""
    code = CODE.format(costly=COSTLY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
