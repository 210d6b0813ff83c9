"""Terminals with names and other people in them, by the commands: attach, share and session."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.wire.terminal.frames import Mode
from tests.fixtures.gateway import PASSWORD, Gateway
from tests.fixtures.terminal import WebTerminal, basic, post, ticket
from tests.waiting import wait_until
from tests.web.outer import attach_command, outer


def attach(folder: Path, port: int, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        attach_command(folder, port, *arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def hosted(port: int) -> Iterator[WebTerminal]:
    client = WebTerminal(port)
    client.hello(ticket(port), terminal="company")
    client.type(b"echo rea''dy\r")
    client.shows(b"ready")
    yield client
    client.close()


def guest_status(port: int, secret: str, who: str) -> int:
    body = json.dumps({"share": secret}).encode()
    return post(port, "/api/guest-ticket", body, basic(who))[0]


def test_terminals_are_listed_and_ended(port: int, hosted: WebTerminal, tmp_path: Path) -> None:
    def listed() -> dict[str, list[str]]:
        done = attach(tmp_path, port, "app01", "--list", "--json")
        assert done.returncode == 0, done.stderr
        return {
            entry["name"]: [person["name"] for person in entry["attached"]]
            for entry in json.loads(done.stdout)
        }

    wait_until(lambda: listed().get("company") == ["dev"])
    table = attach(tmp_path, port, "app01", "--list").stdout
    assert table.splitlines()[0].split() == ["NAME", "ATTACHED"]
    done = attach(tmp_path, port, "app01", "--name", "company", "--end")
    assert done.returncode != 0, "it asks, and nobody answers"
    assert "company" in listed()
    hosted.acknowledges = False
    done = attach(tmp_path, port, "app01", "--name", "company", "--end", "--yes")
    assert done.returncode == 0, done.stderr
    hosted.until(lambda: hosted.exit)
    assert "company" not in listed()
    done = attach(tmp_path, port, "app01", "--name", "company", "--end", "--yes")
    assert done.returncode == 1
    assert done.stderr.endswith("there is no terminal company\n")


@pytest.mark.parametrize(
    "arguments",
    [("--list", "--end"), ("--json",), ("--name", "../x", "--end"), ("--watch", "--take-over")],
)
def test_what_does_not_go_together_is_said(
    port: int, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = attach(tmp_path, port, "app01", *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_an_administrator_shares_lists_and_ends(
    gateway: Gateway, port: int, hosted: WebTerminal
) -> None:
    gateway.add_user("eve")
    base = f"http://127.0.0.1:{port}"
    made = json.loads(
        gateway.command(
            "share",
            "create",
            "dev",
            "app01",
            "--name",
            "company",
            "--for",
            "5m",
            "--url",
            base,
            "--json",
        ).stdout
    )
    assert made["url"].startswith(f"{base}/shared#")
    secret = made["url"].partition("#")[2]
    wait_until(lambda: guest_status(port, secret, "eve") == 200)
    (listed,) = json.loads(gateway.command("share", "list", "--json").stdout)
    assert listed == {name: made[name] for name in listed}
    assert made["id"] in gateway.command("share", "list").stdout
    gateway.command("share", "end", made["id"])
    wait_until(lambda: guest_status(port, secret, "eve") == 403)
    assert gateway.command("share", "end", made["id"], check=False).returncode == 3
    for wrong in (
        ("dev", "app01", "--for", "9d"),
        ("dev", "app01", "--for", "soon"),
        ("dev", "app01", "--name", "<b>"),
        ("dev", "<b>"),
        ("nobody", "app01"),
    ):
        done = gateway.command("share", "create", *wrong, "--url", base, check=False)
        assert done.returncode in (2, 3), done.stderr
        assert not done.stdout


def test_who_is_watched_in_attach_is_told(gateway: Gateway, port: int, tmp_path: Path) -> None:
    with outer(tmp_path) as screen:
        screen.start(attach_command(tmp_path, port, "app01", "--name", "seen", "--shell"))
        screen.keys("echo in''side", "Enter")
        screen.shows("inside")
        watcher = WebTerminal(port)
        watcher.hello(ticket(port), terminal="seen", mode=Mode.WATCH)
        screen.shows("stagedoor: also here: dev (watches)")
        watcher.close()
        screen.shows("no other user is here any more")


def test_an_app_without_terminals_says_so(port: int, tmp_path: Path) -> None:
    done = attach(tmp_path, port, "app02", "--list")
    message = "No terminals; open one: stagedoor attach app02\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, "", message)
    assert attach(tmp_path, port, "app02", "--list", "--json").stdout == "[]\n"


def test_who_only_looks_starts_no_terminal(port: int, hosted: WebTerminal, tmp_path: Path) -> None:
    done = attach(tmp_path, port, "app01", "--watch", "--name", "nobody")
    assert done.returncode == 255
    assert "the terminal nobody no longer exists" in done.stderr
    listed = json.loads(attach(tmp_path, port, "app01", "--list", "--json").stdout)
    assert "company" in [resource["name"] for resource in listed]
    assert "nobody" not in [resource["name"] for resource in listed]


def test_a_session_is_watched_by_its_id(
    gateway: Gateway, port: int, hosted: WebTerminal, tmp_path: Path
) -> None:
    gateway.add_user("ops")
    gateway.command("grant", "add", "user:ops", "app01", "--allow", "watch", "--without", "enter")
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(PASSWORD)
    terminals: list[str] = []

    def live() -> bool:
        status, answer, _ = post(port, "/api/live", b"{}", basic("ops"))
        terminals[:] = [
            session["session"]
            for session in answer.get("sessions", ())
            if session["terminal"] == "company"
        ]
        # One only: the person who was there in the test before may be leaving.
        return status == 200 and len(terminals) == 1

    wait_until(live)
    watching = [
        *attach_command(tmp_path, port)[:3], "session", "watch", terminals[0],
        "--url", f"http://127.0.0.1:{port}", "--user", "ops", "--token-file", str(token),
        "--via", "direct",
    ]  # fmt: skip
    with outer(tmp_path) as screen:
        screen.start(watching)
        screen.shows("watching dev in app01")
        hosted.until(
            lambda: (
                hosted.people
                and [
                    person.name for person in hosted.people[-1].people if person.mode is Mode.WATCH
                ]
                == ["ops"]
            )
        )
        hosted.type(b"echo shown-li''ve\r")
        screen.shows("shown-live")
        screen.keys("intruder", "Enter")
        hosted.type(b"echo af''ter\r")
        hosted.shows(b"after")
        assert b"intruder" not in hosted.text
        # This terminal writes its clipboard, and answers, where it is asked to.
        screen.tmux("set-option", "-s", "set-clipboard", "on")
        screen.tmux("set-option", "-g", "allow-passthrough", "on")
        clipboard = r"\033]52;c;c3RvbGVu\007"
        passed = r"\033Ptmux;\033" + clipboard + r"\033\\"
        hosted.type(f"printf '{clipboard}{passed}\\033[c\\033[6n'; echo atta''cked\r".encode())
        screen.shows("attacked")
        assert screen.tmux("list-buffers") == ""
        screen.keys("Enter", "~.")
        screen.shows("exit=0")
        assert not re.search(r"\[\?|;\d+R|;\d+c", screen.settled())
    done = subprocess.run(
        [word if word != terminals[0] else "0" * 20 for word in watching],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 255
    assert "may not watch it" in done.stderr
