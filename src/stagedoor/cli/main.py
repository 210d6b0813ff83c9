"""The program `stagedoor`. `tunnel` and `login --if-needed` are dispatched before
anything else is imported: each ssh waits for them."""

import os
import sys


def main() -> None:
    """Entry point; exits with the command's code."""
    _fill_closed()
    if sys.argv[1:2] == ["tunnel"]:
        from stagedoor.client.tunnel import main as tunnel

        sys.exit(tunnel(sys.argv[2:]))
    if sys.argv[1:2] == ["login"] and "--if-needed" in sys.argv:
        from stagedoor.client.needed import folder_in, is_fresh

        folder = folder_in(sys.argv[1:])
        if folder is not None and is_fresh(folder):
            return
        from stagedoor.client.laptop import main as laptop

        sys.exit(laptop(sys.argv[1:], []))
    from stagedoor.cli.app import run

    run()


def _fill_closed() -> None:
    """The parent process may have closed stdin, stdout or stderr (`>&-`). The next file or connection
    that is opened would get the number, and then what is for people to read."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free (open(2))
            os.set_inheritable(fd, True)  # else what we start, a worker, would find it closed again
        if getattr(sys, name) is None:  # what Python makes of a closed one
            setattr(sys, name, open(fd, "w" if fd else "r", encoding="utf-8", closefd=False))  # noqa: SIM115 - it stays open


if __name__ == "__main__":
    main()
