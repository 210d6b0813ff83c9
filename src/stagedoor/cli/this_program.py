"""The command by which other programs run this one."""

import sys
from pathlib import Path


def find_this_program() -> tuple[str, ...]:
    """Return the command that runs this program under any PATH.

    Links are not resolved, so that a link to a newer version keeps working.
    """
    called = Path(sys.argv[0])
    if called.name == "stagedoor" and called.is_file():
        return (str(called.absolute()),)
    beside = Path(sys.executable).with_name("stagedoor")
    return (str(beside),) if beside.is_file() else (sys.executable, "-m", "stagedoor")
