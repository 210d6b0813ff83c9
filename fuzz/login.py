"""Fuzz target: answers of a gateway to the client of a login, and a client's signatures.

The first byte says what the others are: the well-known document, a certificate, or a signature.
"""

from pathlib import Path

from stagedoor.keys.signing import find_signing_key
from stagedoor.laptop.login_files import (
    GatewayDocument,
    read_end,
    render_config,
    render_known_hosts,
)
from stagedoor.laptop.login_web import parse_object
from stagedoor.laptop.ssh_files import NO_QUOTE
from stagedoor.laptop.tunnel.errors import TunnelError

MAX_BYTES = 4096
URL = "https://gw.example"
FOLDER = Path("/home/alice/.config/stagedoor/gw.example")
OURS = ("*.ssh", "*-ssh", "stagedoor-")


def check(received: bytes) -> None:
    kind, rest = received[:1], received[1:]
    text = rest.decode("latin-1")
    try:
        match kind:
            case b"c":
                assert 0 <= read_end(text) <= 2**40
            case b"s":
                assert find_signing_key(text, "login@stagedoor", b"an unsigned line") is None
            case _:
                _known(rest)
    except TunnelError as error:
        assert "\n" not in error.line  # noqa: PT017 - it is what must not be


def _known(document: bytes) -> None:
    known = GatewayDocument(parse_object(document, URL), URL)
    for line in render_config(known, FOLDER, "alice", ["/usr/bin/stagedoor"], "gw").splitlines():
        assert line.isprintable()
        assert not line or line.startswith(("Match ", "Host ", "# ", "  "))
        if line.startswith("Host "):
            assert all(name == NO_QUOTE or name.startswith(OURS) for name in line.split()[1:])
    for line in render_known_hosts(known).splitlines():
        assert line.startswith(("# ", "@cert-authority *"))
