"""The WebShell into shells on a real cluster: held in the pod, through whatever happens in front of it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acceptance.chromium import chromium, find_chromium
from stagedoor.admin.service import add_user
from stagedoor.wire.terminal.frames import Mode, NoticeKind
from tests.fixtures.cluster import WITHIN_S, KubeGateway, until
from tests.fixtures.gateway import PASSWORD
from tests.fixtures.terminal import WebTerminal, basic, post, ticket
from tests.web.browser.conftest import KEEPS_STEPS, sign_in_by_form

Make = Callable[..., KubeGateway]
pytestmark = pytest.mark.timeout(400)  # real clocks, on a machine that does other things too

WEB = '[web]\naddresses = ["127.0.0.1:0"]\n'
RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 12345,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def come(
    kube: KubeGateway, given: "WebTerminal | None" = None, command: str = "", **how: object
) -> WebTerminal:
    """A client of app01; `given` is their client before the line was cut."""
    port = kube.gateway.port("web")
    client = WebTerminal(port)
    if given is not None:
        assert given.welcome is not None
        how = {"attachment": given.welcome.attachment, "seen": given.seen, **how}
    admission = ticket(port, "app01", basic("dev", kube.token))
    return client.hello(admission, command, **how)  # type: ignore[arg-type]


def kill_gateway(kube: KubeGateway) -> None:
    """All of it at once, as a node that is lost; then it is started again, as a kubelet would."""
    assert kube.gateway.process is not None
    # It stands still meanwhile, or it would start a worker again for each that it sees die.
    kube.gateway.signal(signal.SIGSTOP)
    for pid in (*kube.gateway.worker_pids(), kube.gateway.process.pid):
        os.kill(pid, signal.SIGKILL)
    kube.gateway.process.wait(60)
    kube.gateway.wait_for(lambda line: line["event"] == "end of log")
    kube.gateway.lines.clear()
    kube.gateway.start()


def test_a_terminal_under_restricted_pod_security_outlives_its_line_and_the_gateway(
    make_kube: Make, fresh_namespace: Callable[..., str]
) -> None:
    namespace = fresh_namespace({"pod-security.kubernetes.io/enforce": "restricted"})
    kube = make_kube(namespace, more=WEB)
    kube.app(env={"GREETING": "hello"}, securityContext=RESTRICTED)
    first = come(kube)
    assert len(first.steps) > 1, "a login to a cold shell shows what it waits for"
    first.type(b'here=still; echo "$GREETING-$(id -u)"\r')
    first.shows(b"hello-12345")
    pod = kube.shell_pod()
    first.cut()
    second = come(kube, first)
    second.type(b"echo $here-there\r")
    second.shows(b"still-there")
    assert not second.gaps
    # What the program writes while there is no gateway at all is there when there is one again.
    second.type(b"sleep 3; echo mean''while\r")
    second.shows(b"while\r\n")
    kill_gateway(kube)
    third = come(kube, second)
    third.shows(b"meanwhile")
    assert not third.gaps
    third.type(b"echo $here-again; exit 7\r")
    third.shows(b"still-again")
    third.until(lambda: third.exit)
    assert third.exit is not None
    assert third.exit.code == 7
    assert kube.shell_pod() == pod
    third.close()


def test_tmux_has_the_same_screen_when_the_gateway_has_come_back(make_kube: Make) -> None:
    kube = make_kube(more=WEB)
    kube.app()
    first = come(kube, command="tmux")
    first.until(lambda: first.output or first.snapshot)
    first.type(b"echo marked-${TMUX:+inside}\r")
    first.until(lambda: b"marked-inside" in first.output)
    kill_gateway(kube)
    again = come(kube, command="tmux", mode=Mode.TAKE_OVER)  # another device
    again.until(lambda: b"marked-inside" in again.output)
    again.close()


def test_the_page_shows_the_steps_of_a_cold_start_and_attach_runs_a_command_there(
    make_kube: Make, tmp_path: Path
) -> None:
    kube = make_kube(more=WEB)
    kube.app(env={"GREETING": "hello"})
    if find_chromium() is None:
        kube.must("app01")
    else:
        _look_on_at_its_start(kube, tmp_path / "profile")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "stagedoor", "attach", "--via", "direct", "--user", "dev"),
            *("--url", f"http://127.0.0.1:{kube.gateway.port('web')}"),
            *("--token-file", str(kube.token_file), "app01"),
            *("--", "sh", "-c", "printf %s-42 $GREETING; exit 3"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
    )
    assert (done.stdout, done.returncode) == (b"hello-42", 3), done.stderr


def _look_on_at_its_start(kube: KubeGateway, profile: Path) -> None:
    """Open app01, whose shell does not run, in a real Chromium."""
    with chromium(profile) as browser:
        tab = browser.tab()
        tab.call("Page.addScriptToEvaluateOnNewDocument", source=KEEPS_STEPS)
        base = f"http://127.0.0.1:{kube.gateway.port('web')}"
        sign_in_by_form(tab, base, "/app/app01", secret=kube.token)
        tab.until("document.getElementById('status')?.dataset.state === 'open'", WITHIN_S)
        looks = [text.split("\n") for text in tab.ask("window.steps")]
        assert tab.ask("document.getElementById('starting')") is None, "the shell is there"
        assert not tab.trouble
        tab.close()
    # A name and a time in turn. How many of the short steps are seen depends on the machine.
    steps, times = looks[-1][::2], looks[-1][1::2]
    assert len(steps) > 1, looks
    assert "starting container" in steps, looks
    assert all(re.fullmatch(r"\d+\.\d s", time) for time in times), looks
    assert len({look[-1] for look in looks if look[-2] == steps[-1]}) > 1, "its time passes"


def test_a_terminal_is_shown_by_a_link_and_a_guest_starts_none(make_kube: Make) -> None:
    kube = make_kube(more=WEB)
    kube.app()
    with kube.gateway.changed() as service:
        add_user(service, "guest", password=PASSWORD)
    host = come(kube)
    host.type(b"echo rea''dy\r")
    host.shows(b"ready")
    port, pod = kube.gateway.port("web"), kube.shell_pod()
    mine = basic("dev", kube.token)

    def asked(path: str, headers: dict[str, str], **asking: str) -> tuple[int, dict[str, Any]]:
        status, answer, _ = post(port, path, json.dumps(asking).encode(), headers)
        return status, answer

    def shared() -> dict[str, Any]:
        status, made = asked("/api/share", mine, target="app01", terminal="main")
        assert status == 200, made
        until(lambda: ticketed(made)[0] == 200, "the share is heard of")
        return made

    def ticketed(made: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return asked("/api/guest-ticket", basic("guest"), share=made["fragment"])

    def look(made: dict[str, Any]) -> WebTerminal:
        status, answer = ticketed(made)
        assert status == 200, answer
        return WebTerminal(port).hello(answer["ticket"], mode=Mode.MIRROR)

    made = shared()
    guest = look(made)
    assert guest.welcome is not None
    assert guest.welcome.mode is Mode.WATCH
    guest.until(lambda: b"ready" in guest.snapshot)
    host.until(lambda: any(p.mode is Mode.WATCH for update in host.people for p in update.people))
    guest.type(b"echo intru''der\r")
    host.type(b"echo $((40+2))-shown\r")
    guest.shows(b"42-shown")
    host.shows(b"42-shown")
    assert b"intruder" not in host.text
    assert asked("/api/share/end", mine, id=made["id"])[0] == 200
    guest.until(lambda: any(said.kind is NoticeKind.REVOKED for said in guest.notices))
    made = shared()
    host.acknowledges = False
    assert asked("/api/terminals/end", mine, target="app01", terminal="main")[0] == 200
    host.until(lambda: host.exit)
    host.close()
    late = look(made)
    (said,) = late.notices
    assert (said.kind, said.text) == (NoticeKind.DENIED, "the terminal main no longer exists")
    status, listed = asked("/api/terminals", mine, target="app01")
    assert (status, listed["terminals"]) == (200, [])
    assert kube.shell_pod() == pod
