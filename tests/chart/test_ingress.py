"""The WebShell of the chart behind a real Ingress controller: Traefik, on the test cluster.

Once with a site for every app, once below a path of one site; by the values that our how-to prints.
"""

import http.client
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from acceptance.chromium import chromium, find_chromium
from stagedoor.listeners.web.pages.assets import FOLDER
from tests.chart.chart import merged
from tests.chart.front import HTTP, HTTPS, TOO_LONG_S, Front, Guest, front
from tests.chart.release import RESTRICTED, Release, anchor, of_trial, until
from tests.cluster.asking import Manifest
from tests.docs.pages import ROOT, blocks
from tests.fixtures.cluster import Cluster
from tests.fixtures.gateway import PASSWORD
from tests.kube.api.lone import make_ca, sign
from tests.stopped import killed
from tests.web.browser.conftest import STATES, ready, run, shows, sign_in_by_form
from tests.web.mover import MIB, Sent, content, digest
from tests.web.proxies import Corporate, need_traefik

pytestmark = pytest.mark.timeout(900)

FORGED = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
"""An address that a stranger may claim (RFC 5737)."""
NAMESPACE = "kubernetes.io/metadata.name"
ECHO = "stty raw -echo; printf ready; cat"
SITES: dict[str, tuple[str, str, str]] = {
    "a site for every app": ("https://app01.shell.example.com", "", "/"),
    "a path of one site": ("https://portal.example.com", "/stagedoor", "/stagedoor/app/app01"),
}
"""Per way in: the page's origin, the path below it, and the address of the terminal's page."""


def printed() -> Manifest:
    """The values of our how-to."""
    page = ROOT / "docs" / "how-to" / "kubernetes-networks.md"
    [found] = [
        block.text for block in blocks("yaml") if block.page == page and "ingress:" in block.text
    ]
    values: Manifest = yaml.safe_load(found)
    return values


@dataclass(frozen=True)
class Stage:
    """An installation with an app, and what stands before it."""

    release: Release
    front: Front
    origin: str
    path: str
    page: str

    @property
    def name(self) -> str:
        return self.origin.partition("://")[2]

    @property
    def ca(self) -> Path:
        return self.release.folder / "ca.crt"

    @property
    def door(self) -> tuple[str, int]:
        return self.front.address, HTTPS

    @property
    def service(self) -> str:
        """The address of what the Ingress leads to."""
        resource = self.release.api.named("Service", self.release.own, "stagedoor-web")
        return str(resource["spec"]["clusterIP"])

    def guest(self) -> Guest:
        return Guest(self.door, self.ca, "app01", name="web", origin=self.origin, path=self.path)

    def source_of(self, ask: Callable[[], Any]) -> str:
        """Return the address that the gateway writes down for a client that is denied what `ask` asks for."""
        before = len(self.denials())
        ask()
        until("it is written down", lambda: len(self.denials()) > before)
        return str(self.denials()[-1]["source"]).rpartition(":")[0]

    def denials(self) -> list[Manifest]:
        logs = self.release.kubectl("logs", "deploy/stagedoor-gateway", "-c", "gateway")
        events = []
        for line in logs.splitlines():
            with suppress(json.JSONDecodeError):
                events.append(json.loads(line))
        return [event for event in events if event.get("outcome") == "denied"]

    @contextmanager
    def attached(self, folder: Path, *command: str) -> Iterator["subprocess.Popen[bytes]"]:
        """`stagedoor attach`, which only a proxy of its own leads to that name."""
        secret = folder / "secret"
        secret.touch(mode=0o600)
        secret.write_text(PASSWORD)
        with Corporate({f"{self.name}:443": self.door}) as corporate:
            process = subprocess.Popen(
                [
                    sys.executable, "-m", "stagedoor", "attach", "--url", self.origin + self.path,
                    "--user", "web", "--token-file", secret, "--ca-file", self.ca,
                    "--via", f"http://127.0.0.1:{corporate.port}", "--log", folder / "attach.log",
                    "app01", *command,
                ],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env={**os.environ, "TERM": "xterm-256color"},
            )  # fmt: skip
            with killed(process):
                yield process

    def prints(self, folder: Path, *command: str) -> str:
        with self.attached(folder, "--", *command) as process:
            late = False
            try:
                stdout, stderr = process.communicate(timeout=240)
            except subprocess.TimeoutExpired:
                late = True
                process.kill()
                stdout, stderr = process.communicate()
        report = f"too late: {late}\n{stderr.decode()}\n{stdout!r}\n"
        assert process.returncode == 0, report + self.release.story()
        return stdout.decode().replace("\r\n", "\n")


@pytest.fixture(scope="module", params=SITES)
def stage(
    request: pytest.FixtureRequest,
    cluster: Cluster,
    kit: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    need_traefik()
    origin, path, page = SITES[request.param]
    anchor(cluster)
    kinds = ("front", "own", "apps")
    before, own, apps = (f"test-{kind}-{uuid.uuid4().hex[:8]}" for kind in kinds)
    shown = printed()
    web: Manifest = {
        "allowFrom": [{"namespaceSelector": {"matchLabels": {NAMESPACE: before}}}],
        "ingress": {"className": before, "tlsSecretName": "web-tls"},
    }
    if path:
        host = origin.partition("://")[2]
        web |= {"domain": "", "path": path, "ingress": {**web["ingress"], "host": host}}
    more: Manifest = {
        "apps": {"namespaces": [{"name": apps}]},
        "gateway": {"networks": [f"{cluster.host_address}/32"], "web": web},
    }
    values = merged(merged(shown, of_trial(cluster, kit)), more)
    folder = tmp_path_factory.mktemp("ingress")
    release = Release(cluster, own, apps, folder, values)
    for namespace in (before, own, apps):
        cluster.administrator.make_namespace(namespace, RESTRICTED)
    try:
        make_ca(folder)
        names = "DNS:shell.example.com,DNS:*.shell.example.com,DNS:portal.example.com"
        sign(folder, "web", "/CN=shell.example.com", f"subjectAltName={names}")
        release.kubectl(
            *("create", "secret", "tls", "web-tls"),
            *(f"--cert={folder}/web.crt", f"--key={folder}/web.key"),
        )
        with front(cluster, before, own) as running:
            # Not the network of the pods: what others of them and the node say would be believed too.
            web["forwardedFrom"] = [f"{running.address}/32"]
            release.values = merged(values, {"gateway": {"web": web}})
            release.install()
            release.app(securityContext=UNPRIVILEGED)
            release.in_one_process(
                ("user add web --password-stdin", f"{PASSWORD}\n"), ("grant add user:web app01", "")
            )
            new_stage = Stage(release, running, origin, path, page)
            until("she can sign in by the Ingress", partial(signs_in, new_stage))
            yield new_stage
    finally:
        release.uninstall()
        cluster.administrator.forget("Namespace", before, own, apps)


UNPRIVILEGED: Manifest = {
    "runAsNonRoot": True,
    "runAsUser": 12345,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def signs_in(stage: Stage) -> bool:
    with suppress(OSError, AssertionError):
        stage.guest()
        return True
    return False


def test_her_cookie_is_for_tls_alone_and_for_no_other_site(stage: Stage) -> None:
    guest = stage.guest()
    answer = guest.ask("GET", stage.page)
    assert answer.status == 200
    assert "app01" in answer.body.decode()
    by_domain = not stage.path
    assert guest.cookie.startswith("__Secure-" if by_domain else "__Host-")


def test_without_tls_nobody_answers(stage: Stage) -> None:
    """By the annotation that our how-to prints: the controller's port for plain HTTP knows no such site."""
    line = http.client.HTTPConnection(stage.front.address, HTTP, timeout=60)
    line.request("GET", stage.page, headers={"Host": stage.name})
    assert line.getresponse().status == 404
    line.close()


def test_an_idle_terminal_stays_and_each_key_comes_back(stage: Stage, tmp_path: Path) -> None:
    with stage.attached(tmp_path, "--", "sh", "-c", ECHO) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.read(5) != b"ready":
            _, stderr = process.communicate(timeout=60)
            pytest.fail(stderr.decode() + stage.release.story())
        time.sleep(3 * TOO_LONG_S)  # nothing happens, which is what is tested
        for key in b"one key at a time":
            process.stdin.write(bytes([key]))
            process.stdin.flush()
            assert process.stdout.read(1) == bytes([key])
    log = tmp_path / "attach.log"
    assert "lost:" not in (log.read_text() if log.exists() else "")


def test_the_controller_alone_is_believed_who_somebody_is(stage: Stage) -> None:
    guest = stage.guest()

    def by_it() -> None:
        guest.ask("POST", f"{stage.path}/api/ticket", b"{}", FORGED, plain=True)

    def past_it() -> None:
        # From the node, which no policy keeps out.
        line = http.client.HTTPConnection(stage.service, timeout=60)
        line.request("POST", f"{stage.path}/api/ticket", b"{}", FORGED)
        line.getresponse().read()
        line.close()

    assert stage.source_of(by_it) == stage.release.cluster.host_address
    assert stage.source_of(past_it) != FORGED["X-Forwarded-For"]


def test_no_other_pod_comes_past_it(stage: Stage, tmp_path: Path) -> None:
    """By `allowFrom`. That the controller answers the same words shows that they would be heard.

    By `nc`: the wget of a static busybox crashes when it has to resolve a name.
    """

    def ask(address: str, port: int) -> str:
        said = f"GET {stage.path}/sign-in HTTP/1.0\\r\\n\\r\\n"
        return f"printf '{said}' | nc -w 5 {address} {port} 2>&1"

    both = f"{ask(stage.front.address, HTTP)}; echo; echo then; {ask(stage.service, 80)}; true"
    by_it, then, past_it = stage.prints(tmp_path, "sh", "-c", both).partition("then")
    assert "HTTP/1." in by_it
    assert then
    assert "HTTP/1." not in past_it


def test_a_large_file_goes_up_and_one_that_is_cut_goes_on(stage: Stage, tmp_path: Path) -> None:
    guest = stage.guest()
    sent = Sent(Path("/tmp"), uuid.uuid4().hex.encode(), 24 * MIB)
    begun = guest.begin(sent)
    assert begun.status == 200, begun.body
    # The rest does not come in time, so the controller hangs up; the gateway keeps what there was.
    at = 0
    while at == 0:  # on a busy machine it may hang up before the first bytes have come through
        guest.stall(sent, 0, 4 * MIB)
        at = guest.offset(sent)
    assert at <= 4 * MIB
    answer = guest.pour_on(sent, at)
    assert answer.status == 200, answer.body
    output = stage.prints(tmp_path, "sha256sum", f"/tmp/{sent.name.decode()}")
    assert output.split()[0] == digest(content(sent.size))


@pytest.mark.skipif(
    find_chromium() is None or not (FOLDER / "terminal.js").exists(),
    reason="as root: apt-get install chromium; script/web builds the page",
)
def test_the_page_in_a_real_chromium(stage: Stage, tmp_path: Path) -> None:
    names = {stage.name, "shell.example.com"}
    with (
        Corporate({f"{name}:443": stage.door for name in names}) as corporate,
        chromium(
            tmp_path / "profile",
            "--ignore-certificate-errors",
            f"--proxy-server=http://127.0.0.1:{corporate.port}",
        ) as browser,
    ):
        tab = browser.tab()
        sign_in_by_form(tab, stage.origin + stage.path, stage.page, name="web")
        ready(tab)
        tab.ask(STATES)
        tab.ask(f"new Promise(done => setTimeout(done, {2000 * TOO_LONG_S}))")
        run(tab, "echo in=$((40+2))")
        shows(tab, "in=42")
        assert "lost" not in tab.ask("window.states")
        tab.end()


def test_what_the_controller_writes_down_has_no_secret(stage: Stage, tmp_path: Path) -> None:
    assert stage.prints(tmp_path, "echo", "here") == "here\n"
    guest = stage.guest()
    try:
        until("its log has it", lambda: "/terminal" in stage.front.log())
    except AssertionError as error:
        pytest.fail(f"{error}: {stage.front.log()[-4000:]}\n{stage.release.story()}")
    log = stage.front.log()
    for secret in (PASSWORD, PASSWORD.replace(" ", "+"), guest.cookie.partition("=")[2]):
        assert secret not in log
