"""Drives inside an ssh that stays: what they say when it did not."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from acceptance.prompted import Prompted
from acceptance.reach import Reach
from acceptance.verdict import FailedError
from tests.waiting import wait_until


@pytest.fixture
def report_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that gives the report of a drive without an answer, whose ssh is this script."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def drive(script: str, before: Callable[[Prompted], None] = lambda _: None) -> str:
        program = tmp_path / "ssh"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
        try:
            with Reach(tmp_path / "config", "app01.ssh").inside() as client:
                before(client)
                raise FailedError("no answer")
        except FailedError as error:
            return str(error)

    return drive


def test_that_its_ssh_had_ended_and_what_that_said(report_of: Callable[..., str]) -> None:
    script = "echo inside; echo 'Connection reset by peer' >&2; exit 255"
    said = report_of(script, lambda client: wait_until(lambda: client.ended))
    assert said == "no answer; ssh had ended with 255: Connection reset by peer"


def test_nothing_of_an_ssh_that_lives(report_of: Callable[..., str]) -> None:
    assert report_of("echo inside; exec cat") == "no answer"
