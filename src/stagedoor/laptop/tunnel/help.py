"""The text of `stagedoor tunnel --help`."""

from __future__ import annotations

from stagedoor.laptop.tunnel.errors import EXITS
from stagedoor.laptop.tunnel.options import OPTIONS

HELP = """\
Usage: stagedoor tunnel [OPTION]… HOST [PORT]

Opens an HTTP CONNECT tunnel through the gateway to HOST:PORT (22 by default) on stdin and
stdout, for ssh's ProxyCommand.

Examples:
  ssh -o 'ProxyCommand=stagedoor tunnel --gateway gw.example:8022 %h %p' app01.ssh
  ssh -o 'ProxyCommand=stagedoor tunnel --gateway gw.example:8022 --fdpass %h %p' \\
      -o ProxyUseFdpass=yes app01.ssh
  stagedoor tunnel --print-script > tun.py
  ssh -o 'ProxyCommand=python3 tun.py --gateway https://gw.example %h %p' app01.ssh

Options:
{options}

The credential is the first of these that exists: the token file (--token-file,
$STAGEDOOR_TOKEN_FILE, ~/.config/stagedoor/token); the output of the credential helper, which
runs with $STAGEDOOR_GATEWAY and $STAGEDOOR_USER set; the entry in the keyring (secret-tool with
the attributes 'service stagedoor gateway HOST:PORT user NAME', on macOS the service
'stagedoor:HOST:PORT'); $STAGEDOOR_TOKEN; $STAGEDOOR_PASSWORD. If there is none and the gateway
requires one, it is requested by SSH_ASKPASS or on the terminal. It is never taken from the
command line.

The corporate proxy is the first of these that is set: --via; $STAGEDOOR_VIA; https_proxy for an
https gateway, http_proxy for any other; all_proxy. no_proxy is respected, and connections to
loopback gateways never use a proxy. The proxy's own credential is in its URL or in ~/.netrc.

Exit codes:
{exits}
"""


def render_help() -> str:
    """Return the text of `--help`."""
    options = [(f"{name} {value}".strip(), text) for name, (value, text) in OPTIONS.items()]
    return HELP.format(
        options="\n".join(f"  {name:28} {text}" for name, text in options),
        exits="\n".join(f"  {code:4} {text}" for code, text in EXITS.items()),
    )
