"""`python -m stagedoor.holder attach NAME | join NAME | list | history NAME | end NAME`.

The gateway runs it in a shell.

`run`, which holds a one-off task, reads its order from standard input.
"""

import os
import signal
import sys

from stagedoor.holder.attach import attach, join
from stagedoor.holder.folder import (
    NOT_KNOWN,
    NOT_THERE,
    FolderError,
    ensure_folder,
    find_socket,
    list_terminals,
)
from stagedoor.holder.tmux_session import end, print_history

USAGE = "usage: python -m stagedoor.holder attach NAME | join NAME | list | history NAME | end NAME | run"


def main(arguments: list[str]) -> int:
    """Run a command and return its exit status.

    0: done; 1: failed; 2: wrong usage; 3: there is no terminal to join.
    """
    try:
        match arguments:
            case ["attach", name]:
                return attach(find_socket(ensure_folder(), name))
            case ["join", name]:
                if join(find_socket(ensure_folder(), name)):
                    return 0
                print(f"stagedoor: there is no terminal {name}", file=sys.stderr)
                return NOT_THERE
            case ["list"]:
                print("\n".join(list_terminals(ensure_folder())))
                return 0
            case ["history" | "end" as what, name]:
                if (end if what == "end" else print_history)(find_socket(ensure_folder(), name)):
                    return 0
                print(f"stagedoor: there is no terminal {name}", file=sys.stderr)
                return 1
            case ["run"]:
                from stagedoor.holder import run  # it needs ctypes, which a terminal does not

                return run.run(sys.stdin.readline())
    except (FolderError, OSError) as error:
        why = error if isinstance(error, FolderError) else error.strerror
        print(f"stagedoor: {why}", file=sys.stderr)
        return 1
    print(USAGE, file=sys.stderr)
    return NOT_KNOWN


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
