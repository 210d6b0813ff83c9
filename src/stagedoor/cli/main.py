"""The program `stagedoor`. `tunnel` is dispatched before anything else is imported: it has 20 ms."""

import sys


def main() -> None:
    """Entry point; exits with the command's code."""
    if sys.argv[1:2] == ["tunnel"]:
        from stagedoor.client.tunnel import main as tunnel

        sys.exit(tunnel(sys.argv[2:]))
    from stagedoor.cli.app import run

    run()


if __name__ == "__main__":
    main()
