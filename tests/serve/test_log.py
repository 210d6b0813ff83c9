"""The log: one line each, of everything, and never a reason to fail."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

WRITE = """
import logging
from stagedoor.serve import log
from stagedoor.settings.settings import LogSettings
log.configure(LogSettings(format={format!r}, level="info"))
write_line = log.make_line_writer()
write_line({{"event": "session", "outcome": "denied", "detail": "a\\nb\\x1b[31m\\x9b\\udcff", "x": None}})
write_line({{"event": "session", "detail": "\\x9b31m"}})
write_line({{"event": "session", "outcome": "closed"}})
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("asyncio").exception("a library's words: %s", "here")
logging.getLogger("asyncio").info("not told")
print("done")
"""


def write(form: str, stderr: "int | object" = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WRITE.format(format=form)],
        stdout=subprocess.PIPE,
        stderr=stderr,  # type: ignore[call-overload]
        text=True,
        timeout=60,
        check=False,
    )


def test_every_event_is_one_json_line_libraries_included() -> None:
    done = write("json")
    lines = [json.loads(text) for text in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == [
        "session",
        "session",
        "session",
        "a library's words: here",
    ]
    assert [line["level"] for line in lines] == ["warning", "info", "info", "error"]
    assert "ZeroDivisionError" in lines[3]["exception"]
    assert lines[3]["part"] == "asyncio"
    assert "x" not in lines[0], "what is nothing is left out"


def test_nothing_that_somebody_sent_can_end_a_line_or_speak_to_a_terminal() -> None:
    for form in ("json", "console"):
        output = write(form).stderr
        assert "\x1b[31m" not in output
        assert form == "console" or output.isascii()
        assert "a\nb" not in output


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_log_that_cannot_be_written_is_no_reason_to_fail(form: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = write(form, full)
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_a_log_whose_reader_has_gone_is_no_reason_to_fail() -> None:
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as reader:
        reader.wait()
        assert reader.stdin is not None
        done = write("json", reader.stdin)
        reader.stdin.close()
    assert (done.returncode, done.stdout) == (0, "done\n")
