"""`stagedoor attach`: what it says of itself before it reaches any gateway."""

import re
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from stagedoor.cli.app import stagedoor
from stagedoor.cli.attach import attach
from tests.net.peers import write_certificate


def told(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(stagedoor, ["attach", *words])
    return done.exit_code, done.output


def test_an_address_that_is_not_of_the_web_is_named_as_it_was_given() -> None:
    code, text = told("--url", "ftp://gw", "app01", "--", "true")
    assert code == 2
    assert "'ftp://gw' is no web address: it begins with https:// or http://" in text


def test_its_exit_codes_are_those_of_the_program_but_for_its_own() -> None:
    code, text = told("--help")
    assert code == 0
    assert "255  this program itself failed" in text
    assert "there already" not in text


@pytest.mark.parametrize(
    "url", ["http://me:secret@127.0.0.1:1", "http://127.0.0.1:x", "https://TLS"]
)
def test_what_an_error_advises_is_an_option_that_attach_has(url: str, tmp_path: Path) -> None:
    """The errors of the tunnel's client are said here too, where other options lead to the gateway."""
    server = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*write_certificate(tmp_path))

    def greet() -> None:
        with suppress(OSError), server.accept()[0] as accepted:
            context.wrap_socket(accepted, server_side=True).close()

    thread = threading.Thread(target=greet)
    thread.start()
    at = f"127.0.0.1:{server.getsockname()[1]}"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "stagedoor", "attach", "app01", "--user", "me", "--via", "direct",
             "--url", url.replace("TLS", at)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    finally:
        server.shutdown(socket.SHUT_RDWR)
        thread.join(60)
        server.close()
    assert done.returncode == 255
    advised = set(re.findall(r"--[a-z-]+", done.stderr))
    assert advised, done.stderr
    assert advised <= {name for one in attach.params for name in one.opts}, done.stderr
