"""Single sign-on at Keycloak, by `script/test --idp keycloak`: sign-ins that it ends or changes, as in
`test_sso_ends`, and the tutorial. It starts in half a minute and takes 600 MiB, so no other run has it."""

import html
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.serve.parts.shells import stop_local_shells
from stagedoor.settings.file import load_settings
from tests.docs import pages
from tests.docs.test_tutorial import pattern, plain
from tests.fixtures.gateway import Gateway
from tests.fixtures.people import Browser
from tests.oidc.keycloak import LOGIN, START_S, Keycloak, running_keycloak
from tests.ports import free_port
from tests.waiting import BOUND_S, wait_until
from tests.web import test_sso_ends as ends
from tests.web.test_sso_ends import ENDED, Carol, kept_by_time

pytestmark = pytest.mark.timeout(1200)

web_port, gateway, carol = ends.web_port, ends.gateway, ends.carol
test_groups = (
    ends.test_a_group_that_is_taken_away_there_closes_and_one_given_lets_in_without_a_sign_in
)
test_failures = ends.test_a_provider_that_fails_ends_nothing_and_one_that_refuses_ends_with_a_reason
test_away = (
    ends.test_while_the_provider_is_away_for_long_what_runs_goes_on_and_nothing_new_is_opened
)
test_dump = ends.test_a_dump_of_the_store_has_no_refresh_token


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory, web_port: int) -> Iterator[Keycloak]:
    back = f"http://127.0.0.1:{web_port}/sign-in/sso"
    attributes = {
        "backchannel.logout.url": f"{back}/logout",
        "backchannel.logout.session.required": "true",
    }
    with running_keycloak(tmp_path_factory.mktemp("keycloak"), back, attributes) as running:
        yield running


@pytest.mark.identity(30)
def test_a_session_that_is_ended_there_ends_here_alone(
    carol: Carol, idp: Keycloak, gateway: Gateway, web_port: int
) -> None:
    session_id = kept_by_time(gateway)[-1]
    other = Carol(idp, web_port)  # type: ignore[arg-type]  # it has what is asked for
    idp.end_session(session_id)
    assert carol.last_word().text == ENDED
    other.works()
    other.terminal.close()


# The tutorial.

PAGE = pages.ROOT / "docs/tutorial-sso.md"
PORTS = ("8180", "8022", "2222", "8444")


class Machine:
    """The tutorial's one machine: its home, and what is left running there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ports = {port: str(free_port()) for port in PORTS}
        self.running: list[subprocess.Popen[str]] = []
        base, web = (f"http://127.0.0.1:{self.ports[port]}" for port in ("8180", "8444"))
        self.keycloak = Keycloak(base, f"{web}/sign-in/sso", None)  # type: ignore[arg-type]  # not stopped by it
        self.keycloak.password = "open sesame"

    def here(self, text: str) -> str:
        for port, ours in self.ports.items():
            text = text.replace(port, ours)
        return text.replace("ssh app01.ssh", f"ssh -F {self.home}/.ssh/config app01.ssh")

    def start(self, block: str) -> "subprocess.Popen[str]":
        kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        repository = Path.home() / ".m2/repository"  # what was fetched once
        settings = str(self.home / "sso/stagedoor.toml")
        env = {**kept, "PATH": path, "HOME": str(self.home), "STAGEDOOR_CONFIG": settings}
        process = subprocess.Popen(
            ["bash", "-c", self.here(block)],
            cwd=self.home / "sso",
            env={**env, "MAVEN_OPTS": f"-Dmaven.repo.local={repository}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.running.append(process)
        return process

    def type(self, block: str) -> str:
        """Return what a block of shell prints."""
        process = self.start(block)
        if "kc.sh start-dev" in block:
            wait_until(self.keycloak.answers, START_S)
            return ""
        assert process.stdout is not None
        if block.startswith("stagedoor serve"):
            while "serving" not in (line := process.stdout.readline()):
                assert line, "it does not serve"
            return line
        if block.startswith("stagedoor login"):
            self.sign_in(process.stdout.readline().strip().rpartition("/login/")[2])
        said = process.communicate(timeout=START_S)[0]
        assert process.returncode == 0, said
        return said

    def sign_in(self, login: str) -> None:
        """In a browser by HTTP."""
        browser = Browser(f"http://127.0.0.1:{self.ports['8444']}")
        browser.get(self.keycloak.sign_in(browser.begin(f"/login/{login}"), LOGIN))
        status, page = browser.post(f"/login/{login}/approve")
        assert status == 200, page
        [back, *_] = re.findall(r'href="(http://127\.0\.0\.1:\d+/[^"]+)"', page)
        browser.get(html.unescape(back))

    def signed_out(self) -> None:
        """At Keycloak, while a developer is in the app."""
        inside = self.start("ssh app01.ssh 'echo up; sleep 600'")
        assert inside.stdout is not None
        assert inside.stdout.readline().strip() == "up"
        self.keycloak.sign_out()
        assert "Company ended" in inside.communicate(timeout=BOUND_S)[0]

    def close(self) -> None:
        for process in self.running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(BOUND_S)
            if process.stdout is not None:
                process.stdout.close()
        if (settings := self.home / "sso/stagedoor.toml").exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("HOME", str(self.home))  # its settings begin with ~
                stop_local_shells(load_settings(settings))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    (tmp_path / "sso").mkdir()
    new_machine = Machine(tmp_path)
    yield new_machine
    new_machine.close()


def test_the_tutorial_shows_what_happens(machine: Machine) -> None:
    """Each block in its order, but for the packages."""
    folder, printed = machine.home / "sso", ""
    for language, text in pages.FENCE.findall(pages.text(PAGE)):
        match language:
            case "json":
                place = folder / "keycloak-26.0.8/data/import/company.json"
                place.write_text(machine.here(text))
            case "toml":
                (folder / "stagedoor.toml").write_text(machine.here(text))
            case "text":
                wanted = pattern(machine.here(text))
                assert re.search(wanted, plain(printed)), f"{text} is not in {printed}"
            case "sh" if not text.startswith("sudo "):
                if text.startswith("stagedoor audit"):
                    machine.signed_out()
                printed = machine.type(text)
