"""The program `stagedoor`.

`tunnel` and `login --if-needed` are dispatched before anything else is imported, since every ssh waits for
them.
"""

import os
import sys


def main() -> None:
    """Run the command in argv, and exit with its code."""
    _fill_closed()
    if sys.argv[1:2] == ["tunnel"]:
        from stagedoor.laptop.tunnel.main import main as tunnel

        sys.exit(tunnel(sys.argv[2:]))
    if sys.argv[1:2] == ["login"] and "--if-needed" in sys.argv:
        from stagedoor.laptop.if_needed import is_fresh, parse_folder

        folder = parse_folder(sys.argv[1:])
        if folder is not None and is_fresh(folder):
            return
        from stagedoor.laptop.main import main as laptop

        sys.exit(laptop(sys.argv[1:], []))
    from stagedoor.cli.app import run

    run()


def _fill_closed() -> None:
    """Open /dev/null in place of a closed stdin, stdout or stderr (`>&-`).

    Otherwise the next file or connection would get that number, and then the output meant for people.
    """
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free (open(2))
            # Otherwise a program that we start would find it closed again.
            os.set_inheritable(fd, True)
        if getattr(sys, name) is None:  # Python sets a closed one to None
            setattr(sys, name, open(fd, "w" if fd else "r", encoding="utf-8", closefd=False))  # noqa: SIM115 - it stays open


if __name__ == "__main__":
    main()
