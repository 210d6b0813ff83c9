"""Checks of requests that the gateway must refuse and of sessions that it must close.

Each raises FailedError.
"""

import base64
import json
import socket
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from acceptance.reach import Reach
from acceptance.verdict import FailedError, expect
from stagedoor.demo.clients import DemoLogin

ANSWER_S = 60.0
REVOKED_WITHIN_S = 5.0
"""The promise: a grant that is removed closes what it covered within this time."""
REASON = "closed by the check"


@dataclass(frozen=True)
class Desk:
    """A runner of an administrator's `stagedoor` commands on one installation."""

    stagedoor: tuple[str, ...]
    settings_file: Path

    def command(self, *words: str) -> str:
        """Run a command and return its stdout. Raises FailedError, with its stderr, if it fails."""
        done = subprocess.run(
            [*self.stagedoor, "--config", str(self.settings_file), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=False,
        )
        expect(done.returncode == 0, f"stagedoor {' '.join(words[:2])}: {done.stderr.strip()}")
        return done.stdout

    def json(self, *words: str) -> list[dict[str, Any]]:
        """Run a command that lists with `--json`; return the list. Raises FailedError."""
        rows = json.loads(self.command(*words, "--json"))
        assert isinstance(rows, list), "only commands that list are run here"
        return rows


def check_refused(
    login: DemoLogin, host: str, port: int, status: int, password: str | None = None
) -> str:
    """Request a tunnel and return the status. Raises FailedError unless it is `status`, with a reason.

    `password` replaces the login's own; "" sends no credential at all.
    """
    secret = login.password if password is None else password
    basic = base64.b64encode(f"{login.user}:{secret}".encode()).decode()
    header = f"Proxy-Authorization: Basic {basic}\r\n" if secret else ""
    request = f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{header}\r\n"
    answer = b""
    try:
        with socket.create_connection((login.host, login.port), timeout=ANSWER_S) as sock:
            sock.sendall(request.encode())
            while chunk := sock.recv(4096):
                answer += chunk
                # Fail at once: an open tunnel would not end.
                expect(not answer.startswith(b"HTTP/1.1 200"), "it was let in")
    except OSError as error:
        raise FailedError(f"no answer from the gateway: {error}") from None
    head, _, body = answer.decode(errors="replace").partition("\r\n\r\n")
    answered = head.split(" ")[1:2]
    expect(answered == [str(status)], f"{status} was expected, not {head.splitlines()[:1]}")
    expect(body.strip(), f"{status} came without a word why")
    return str(status)


def check_evicted(reach: Reach, login: DemoLogin, desk: Desk) -> None:
    """Check that `session list` shows a live ssh, and that `session close` ends it and keeps its reason."""
    with reach.inside() as client:
        [live] = _sessions(desk, login, 1)
        desk.command("session", "close", str(live["id"]), "--reason", REASON)
        expect(client.ends_within(REVOKED_WITHIN_S), "the ssh lives on")
    closed = _closed(desk, login)
    expect(closed["end"] == "evicted", f"the session ended as {closed['end']}, not evicted")
    expect(closed["close_reason"] == REASON, f"the reason kept is {closed['close_reason']!r}")


def check_revoked(reach: Reach, login: DemoLogin, desk: Desk) -> str:
    """Check that `grant remove` ends a live ssh and refuses the next one; return how long that took."""
    with reach.inside() as client:
        grants = [
            g["id"] for g in desk.json("grant", "list") if g["subject"] == f"user:{login.user}"
        ]
        expect(len(grants) == 1, f"{login.user} has {len(grants)} grants, not 1")
        desk.command("grant", "remove", str(grants[0]))
        removed = time.monotonic()
        expect(
            client.ends_within(REVOKED_WITHIN_S),
            f"the ssh still lives {REVOKED_WITHIN_S:g} s after its grant was removed",
        )
        took_s = time.monotonic() - removed
    closed = _closed(desk, login)
    expect(closed["end"] == "revoked", f"the session ended as {closed['end']}, not revoked")
    check_refused(login, reach.host, 22, 403)
    return f"within {took_s:.1f} s"


def check_requested(reach: Reach, desk: Desk) -> str:
    """Check that an ssh without a grant waits, and goes on after an approval; return how long that took."""
    asking = replace(reach, env={**reach.env, "STAGEDOOR_REASON": "INC-42, a check"})
    with asking.start(asking.argv("ssh", asking.host, "echo in''side")) as client:
        deadline = time.monotonic() + ANSWER_S
        while not (requests := desk.json("request", "list")):
            expect(not client.ended, "ssh ended, and did not wait")
            expect(time.monotonic() < deadline, "no request was made")
        desk.command("request", "approve", str(requests[0]["id"]))
        approved = time.monotonic()
        try:
            client.expect("inside")
        except TimeoutError as error:
            raise FailedError(str(error)) from None
        return f"{max(0.0, time.monotonic() - approved):.1f} s after the approval"


def _closed(desk: Desk, login: DemoLogin) -> dict[str, Any]:
    """Return the only session once its end is in the audit, which may be later than the ssh ends."""
    deadline = time.monotonic() + ANSWER_S
    while True:
        [session] = _sessions(desk, login, 1, "--all")
        if session["end"] is not None or time.monotonic() > deadline:
            return session


def _sessions(desk: Desk, login: DemoLogin, count: int, *options: str) -> list[dict[str, Any]]:
    sessions = desk.json("session", "list", "--user", login.user, *options)
    expect(len(sessions) == count, f"session list shows {len(sessions)} sessions, not {count}")
    return sessions
