"""A program that brings a credential may print anything, for ever."""

import asyncio
import os
import signal
import tracemalloc
from pathlib import Path

import pytest

from stagedoor.kube.credentials import CredentialError
from stagedoor.kube.plugin import OUTPUT_LIMIT, Program, _output


def program(script: str) -> Program:
    return Program("sh", ["-c", script], {}, "client.authentication.k8s.io/v1", None)


def test_output_without_end_is_refused_in_words() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CredentialError, match=f"printed more than {OUTPUT_LIMIT} bytes"):
            asyncio.run(_output(program("yes")))
        assert tracemalloc.get_traced_memory()[1] < 8 * OUTPUT_LIMIT
    finally:
        tracemalloc.stop()


def test_what_a_program_leaves_running_holds_nobody_up(tmp_path: Path) -> None:
    """It has left the program's process group, and holds its pipes open."""
    leaves = f"""
        setsid sh -c 'touch {tmp_path}/$$; exec sleep 600' &
        until [ -e {tmp_path}/$! ]; do sleep 0.01; done
    """

    async def output(script: str) -> bytes:
        return await asyncio.wait_for(_output(program(leaves + script)), 30)

    try:
        with pytest.raises(CredentialError, match="printed more than"):
            asyncio.run(output("exec yes"))
        assert asyncio.run(output("printf kept")) == b"kept"
        with pytest.raises(CredentialError, match=r"exit status 3\): no$"):
            asyncio.run(output("echo no >&2; exit 3"))
    finally:
        for pid in tmp_path.iterdir():
            os.kill(int(pid.name), signal.SIGKILL)


def test_of_errors_without_end_the_last_are_told() -> None:
    script = "head -c 50000000 /dev/zero | tr '\\0' x >&2; echo 'log in first' >&2; exit 3"
    with pytest.raises(CredentialError, match=r"exit status 3\): .*log in first$"):
        asyncio.run(_output(program(script)))


def test_what_it_says_is_one_line_that_no_terminal_obeys() -> None:
    script = r"printf 'a\n\033[2J\302\2331mb\n' >&2; exit 3"
    with pytest.raises(CredentialError, match=r"exit status 3\): a \[2J 1mb$"):
        asyncio.run(_output(program(script)))


def test_both_at_once_are_read() -> None:
    script = "head -c 500000 /dev/zero >&2; head -c 500000 /dev/zero | tr '\\0' x"
    assert len(asyncio.run(_output(program(script)))) == 500_000
