"""How other programs run this one."""

import sys
from pathlib import Path


def this_program() -> tuple[str, ...]:
    """How to run this program under any PATH. Links stay, so that an upgrade behind one is found."""
    called = Path(sys.argv[0])
    if called.name == "stagedoor" and called.is_file():
        return (str(called.absolute()),)
    beside = Path(sys.executable).with_name("stagedoor")
    return (str(beside),) if beside.is_file() else (sys.executable, "-m", "stagedoor")
