"""`stagedoor tunnel`, the ProxyCommand of ssh: an HTTP CONNECT to the gateway, then ssh's bytes.

ssh waits for it, so each run imports only what it needs.
"""

from __future__ import annotations

import os
import sys

from stagedoor.laptop.tunnel.enter import TunnelKey, open_tunnel
from stagedoor.laptop.tunnel.errors import INTERNAL, INTERRUPTED, OK, TunnelError, clean, show
from stagedoor.laptop.tunnel.options import Options, parse_argv


def run(argv: list[str]) -> int:
    """Run with `argv` and return the exit code. Raises TunnelError."""
    values, words = parse_argv(argv)
    if "--help" in values:
        from stagedoor.laptop.tunnel.help import render_help

        sys.stdout.write(render_help())
        return OK
    if "--print-script" in values:
        from stagedoor.laptop.tunnel.onefile import build_tunnel_file

        sys.stdout.buffer.write(build_tunnel_file())
        return OK
    options = Options(values, words, dict(os.environ))
    try:
        key = TunnelKey() if options.resumes else None
        wire = open_tunnel(options, key)
    except TunnelError as error:
        if not options.fdpass:
            raise
        from stagedoor.laptop.tunnel.fdpass import make_ssh_print

        show(f"stagedoor: {clean(error.line)}\n")
        make_ssh_print(error.line)
        return error.code
    if options.fdpass:
        from stagedoor.laptop.tunnel.fdpass import hand_over

        return hand_over(wire)
    from stagedoor.laptop.tunnel.relay import Local, relay

    if wire.is_resumable and key is not None:
        from stagedoor.laptop.tunnel.resume import ResumableTunnel

        return ResumableTunnel(options, key, Local(0, 1)).run(wire)
    return relay(wire, Local(0, 1))


def main(argv: list[str]) -> int:
    """Run with `argv`, without the program's name, and return the exit code (see `EXITS`)."""
    for fd in (0, 1, 2):  # otherwise a socket could get the number of a closed stdin or stderr
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    try:
        return run(argv)
    except TunnelError as error:
        show(f"stagedoor: {clean(error.line)}\n")
        return error.code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # one line instead of a traceback
        line = f"a fault in stagedoor tunnel: {type(error).__name__}: {error}; please report it"
        show(f"stagedoor: {clean(line)}\n")
        return INTERNAL
