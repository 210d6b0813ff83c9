"""Whether a person can be asked to log in now."""

import subprocess
import sys

import pytest

from stagedoor.laptop import login_attended

PRINTS, BATCH = "ssh -G only prints its configuration", "BatchMode is on"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["ssh", "app01.ssh", "ls", "-G"], ""),
        (["ssh", "-p", "22", "app01.ssh", "grep", "-Gq", "x", "-o", "BatchMode=yes"], ""),
        (["ssh", "--", "app01.ssh", "-G"], ""),
        (["ssh", "-l", "-G", "app01.ssh"], ""),
        (["/usr/bin/ssh", "-TG", "app01.ssh"], PRINTS),
        (["ssh", "app01.ssh", "-G"], PRINTS),
        (["ssh", "-oBatchMode=yes", "app01.ssh", "true"], BATCH),
        (["ssh", "-x", "-o", "batchmode yes", "--", "app01.ssh", "scp"], BATCH),
        (["ssh", "-o", "BatchMode=no", "app01.ssh"], ""),
        (["ssh", "-?", "app01.ssh", "-G"], ""),
        (["ssh"], ""),
        ([], ""),
    ],
)
def test_only_ssh_s_own_options_say_that_no_person_is_there(
    monkeypatch: pytest.MonkeyPatch, command: list[str], reason: str
) -> None:
    for name in ("CI", "CRON_TZ"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(login_attended, "find_parent_ssh", lambda: command)
    monkeypatch.setattr(login_attended, "has_terminal", lambda: True)
    assert login_attended.find_reason_not_to_ask() == reason


def test_an_option_s_name_and_value_are_joined_where_ps_does_not_quote() -> None:
    parent, words = login_attended.split_ps_line("  12 ssh -o BatchMode yes -v app01.ssh true\n")
    assert (parent, words) == (12, ["ssh", "-o", "BatchMode=yes", "-v", "app01.ssh", "true"])


def test_the_ssh_that_runs_this_is_found() -> None:
    code = "from stagedoor.laptop.login_attended import find_parent_ssh as f; print(f())"
    script = f"'{sys.executable}' -c '{code}'; true"
    shell = ["bash", "-c", "exec -a /usr/bin/ssh sh -c \"$0\" 'a b'", script]
    done = subprocess.run(shell, capture_output=True, text=True, check=True)
    assert done.stdout == f"{['/usr/bin/ssh', '-c', script, 'a b']}\n"
