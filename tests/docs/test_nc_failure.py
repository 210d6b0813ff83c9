"""The reproduction of the nc failure shows what the page says, whatever the machine's timing."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.docs.pages import ROOT
from tests.pace import allow
from tests.stopped import killed

FOLDER = ROOT / "docs/explanation/nc-failure"
# nc(1) of OpenBSD writes these two, one after the other.
FIRST, SECOND = b"CONNECT app01.ssh:22 HTTP/1.0\r\n", b"\r\n"
WAIT_S = allow(60)


@contextmanager
def proxy(*options: str) -> Iterator[tuple["subprocess.Popen[bytes]", int, socket.socket]]:
    """The page's proxy, its port, and a listener in sshd's place."""
    with socket.create_server(("127.0.0.1", 0)) as sshd:
        sshd.settimeout(WAIT_S)
        process = subprocess.Popen(
            [sys.executable, str(FOLDER / "naive_proxy.py"), str(sshd.getsockname()[1]), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with killed(process):
            assert process.stdout is not None
            yield process, int(process.stdout.readline()), sshd


def test_the_naive_proxy_hands_the_rest_of_the_request_to_sshd() -> None:
    with proxy() as (process, port, sshd):
        assert process.stderr is not None
        with socket.create_connection(("127.0.0.1", port), WAIT_S) as downstream:
            downstream.sendall(FIRST)
            assert b"took" in process.stderr.readline()  # it has read; the second piece comes later
            downstream.sendall(SECOND)
            with sshd.accept()[0] as upstream:
                upstream.settimeout(WAIT_S)
                assert upstream.recv(2) == b"\r\n"


def test_the_careful_proxy_hands_sshd_what_follows_the_request_and_nothing_else() -> None:
    with (
        proxy("--careful") as (_, port, sshd),
        socket.create_connection(("127.0.0.1", port), WAIT_S) as downstream,
    ):
        downstream.sendall(FIRST)
        downstream.sendall(SECOND + b"SSH-2.0-x\r\n")
        with sshd.accept()[0] as upstream:
            upstream.settimeout(WAIT_S)
            assert upstream.recv(64) == b"SSH-2.0-x\r\n"


@pytest.mark.parametrize(("number", "words"), [(1231976033, "Inva"), (1349676916, "Prot")])
def test_the_numbers_are_the_words_that_the_page_says(number: int, words: str) -> None:
    assert number.to_bytes(4, "big") == words.encode()
    assert str(number) in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.skipif(
    not all(shutil.which(name, path="/usr/bin:/bin:/usr/sbin") for name in ("ssh", "sshd", "nc")),
    reason="needs openssh-client, openssh-server and netcat-openbsd",
)
def test_the_script_on_the_page_runs_and_the_right_ways_log_in() -> None:
    done = subprocess.run(
        [str(FOLDER / "reproduce.sh")], capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    naive, tunnel, careful = done.stdout.split("\n--- ")[1:]
    assert "ssh: logged in" in tunnel
    assert "ssh: logged in" in careful
    # Loopback may bring the pieces together fifty times in a row; more often it does not.
    assert "Bad packet length" in naive or "(try 50)" in naive
