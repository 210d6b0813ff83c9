"""A check of `stagedoor login` on a bare machine: a person signs in, plain ssh works, and the end closes it.

The person uses a real Chromium if one is installed, otherwise HTTP alone.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

from acceptance.chromium import Browser, BrowserError, Tab, chromium, find_chromium
from acceptance.doors import REVOKED_WITHIN_S, Desk
from acceptance.person import Person
from acceptance.verdict import FailedError, expect, need

WAIT_S = 60.0
LABEL = "a machine of the check"
REASON = "ended by the check"


@dataclass(frozen=True)
class BareMachine:
    """A machine with an empty home, for the gateway at `url`; `stagedoor` is the command of its client."""

    home: Path
    stagedoor: tuple[str, ...]
    url: str

    @property
    def env(self) -> dict[str, str]:
        """The environment of its processes."""
        return {"HOME": str(self.home), "PATH": os.environ["PATH"], "LOGNAME": "somebody"}

    def ssh(self, command: str) -> "subprocess.Popen[str]":
        """Start plain ssh with the configuration that the login wrote."""
        config = self.home / ".ssh" / "config"
        return subprocess.Popen(
            ["ssh", "-F", config, "-o", "BatchMode=yes", "app01.ssh", command],
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def login(self) -> Iterator[tuple["subprocess.Popen[str]", str]]:
        """Start a login; yield its process, which waits for approval, and the page to approve it on."""
        words = ("login", "--no-browser", "--label", LABEL, self.url)
        process = subprocess.Popen(
            [*self.stagedoor, *words],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stderr is not None, "it is a pipe"
            line = process.stderr.readline()
            page = re.search(r"http\S+", line)
            expect(page, f"login shows no address: {line.strip()}")
            assert page is not None, "it was expected"
            yield process, page[0]
        finally:
            process.kill()
            process.communicate()


def drive(machine: BareMachine, name: str, password: str, desk: Desk) -> str:
    """Check a login, an ssh and the end of the sign-in; return how soon that closed the ssh.

    Raises FailedError, NotHereError.
    """
    need("ssh", "ssh-keygen")
    machine.home.mkdir()
    if find_chromium() is None:
        _log_in_by_http(machine, name, password)
    else:
        try:
            with chromium(machine.home.parent / "chromium") as browser:
                _log_in(machine, browser, name, password)
        except BrowserError as error:
            raise FailedError(str(error)) from None
    with machine.ssh("printf %s-42 $APP_NAME") as ssh:
        out, err = ssh.communicate(timeout=WAIT_S)
    expect(out == "app01-42", f"ssh shows {out[:200]!r}: {err.strip()[:200]}")
    way = "by HTTP, for want of a browser; " if find_chromium() is None else ""
    return f"{way}{_end_sign_in(machine, desk)}"


def _log_in_by_http(machine: BareMachine, name: str, password: str) -> None:
    """Approve the login as its page does, and follow its redirect to the client, as a browser would."""
    with machine.login() as (process, page):
        person = Person(machine.url)
        person.sign_in(name, password)
        answer = person.post(f"{page.removeprefix(person.url)}/approve")
        link = re.search(r'href="(http://127\.0\.0\.1:[^"]+)"', answer.text)
        expect(link, f"the approval answers {answer.status} and leads nowhere")
        assert link is not None, "it was expected"
        client = urlsplit(unescape(link[1]))
        Person(f"{client.scheme}://{client.netloc}").get(f"{client.path}?{client.query}")
        _expect_logged_in(process)


def _log_in(machine: BareMachine, browser: Browser, name: str, password: str) -> None:
    with machine.login() as (process, page):
        tab = browser.tab(page)
        tab.until("document.querySelector('#secret') !== null")
        _fill(tab, "name", name)
        _fill(tab, "secret", password)
        tab.enter()
        tab.until("document.querySelector('.login button[autofocus]') !== null")
        tab.ask("document.querySelector('.login button[autofocus]').click()", gesture=True)
        tab.until("document.querySelector('h1')?.textContent === 'Logged in'")
        _expect_logged_in(process)
        tab.close()


def _expect_logged_in(process: "subprocess.Popen[str]") -> None:
    _, said = process.communicate(timeout=WAIT_S)
    expect(process.returncode == 0, f"login ended with {process.returncode}: {said[:200]}")


def _fill(tab: Tab, field: str, text: str) -> None:
    tab.ask(f"document.getElementById({json.dumps(field)}).focus()")
    tab.type(text)


def _end_sign_in(machine: BareMachine, desk: Desk) -> str:
    with machine.ssh("echo up; cat") as ssh:
        try:
            assert ssh.stdout is not None, "it is a pipe"
            expect(ssh.stdout.readline() == "up\n", "a second ssh does not get in")
            sign_ins = desk.json("sign-in", "list")
            [sign_in] = [row for row in sign_ins if row["label"] == LABEL]
            began = time.monotonic()
            desk.command("sign-in", "end", str(sign_in["id"]), "--reason", REASON, "--yes")
            try:
                ssh.wait(REVOKED_WITHIN_S)
            except subprocess.TimeoutExpired:
                raise FailedError(
                    f"ssh still lives {REVOKED_WITHIN_S:g} s after its sign-in was ended"
                ) from None
            took_s = time.monotonic() - began
        finally:
            ssh.kill()
    with machine.ssh("true") as again:
        again.communicate(timeout=WAIT_S)
    expect(again.returncode != 0, "a user who was signed out is still let in")
    return f"the end of the sign-in closed it within {took_s:.1f} s"
