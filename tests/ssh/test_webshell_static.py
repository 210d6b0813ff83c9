"""The WebShell on servers that were there already: held by what an entry names, and refused without."""

import getpass
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stagedoor.holder.folder import end_all
from stagedoor.laptop.doctor.path import PathOptions, check_path
from stagedoor.wire.finding import Level
from stagedoor.wire.terminal.frames import Notice, NoticeKind
from tests.fixtures.gateway import PASSWORD, SSH_TABLE, static
from tests.fixtures.laptop import Laptop
from tests.fixtures.people import PlainBrowser
from tests.fixtures.terminal import WebTerminal, ticket
from tests.holder.compiled import compiled
from tests.ports import free_port
from tests.ssh.test_direct_sshd import SSHD, Sshd

WEB = '[web]\naddresses = ["127.0.0.1:0"]\n'


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    """app01's terminals are held by the kit's program, copied to the server; of app02 nothing is said."""
    if not Path(SSHD).exists():
        pytest.skip("sshd is missing; apt install openssh-server")
    hold = compiled(tmp_path)
    sshd = Sshd(tmp_path / "sshd")
    terminals = tmp_path / "terminals"
    entry = f'login_name = "{getpass.getuser()}"\nhost_keys = ["{sshd.public}"]\n'
    words = shlex.join(["env", f"STAGEDOOR_TERMINALS={terminals}", str(hold)])
    settings = SSH_TABLE + WEB + static("app01", sshd.port) + entry + f'holder = "{words}"\n'
    settings += static("app02", sshd.port) + entry + static("app03", free_port())
    laptop = Laptop(tmp_path / "gateway", settings, ("app01", "app02", "app03"))
    try:
        laptop.gateway.start()
        sshd.start((laptop.gateway.data_dir / "keys" / "user_ca.pub").read_text())
        yield laptop
    finally:
        laptop.gateway.stop()
        sshd.stop()
        with suppress(FileNotFoundError):
            end_all(terminals)


def test_a_terminal_stays_on_a_server_whose_entry_names_a_holder(laptop: Laptop) -> None:
    port = laptop.gateway.port("web")
    first = WebTerminal(port).hello(ticket(port, "app01"))
    first.type(b"here=still; echo rea''dy\r")
    first.shows(b"ready")
    first.cut()
    again = WebTerminal(port).hello(ticket(port, "app01"))
    again.type(b"echo $here-there\r")
    again.shows(b"still-there")
    again.close()


def test_a_server_whose_entry_names_none_is_refused_in_words(laptop: Laptop) -> None:
    port = laptop.gateway.port("web")
    client = WebTerminal(port).hello(ticket(port, "app02"))
    [notice] = client.notices
    assert isinstance(notice, Notice)
    assert notice.kind is NoticeKind.DENIED
    assert "log in by ssh" in notice.text
    assert "[[shells.static]]" not in notice.text, "that is an administrator's"
    client.close()


def test_the_home_page_offers_what_there_is_and_says_what_answers(laptop: Laptop) -> None:
    port = laptop.gateway.port("web")
    person = PlainBrowser(port)
    person.sign_in()
    home = person.get("/").text
    one, two = home.split('data-name="app01"')[1].split('data-name="app02"')
    assert "</span>running</td>" in one
    assert "Open terminal of app01" in one
    assert "</span>running</td>" in two.partition("</tr>")[0]
    assert "Open terminal" not in two.partition("</tr>")[0], "it could only refuse"


def test_a_server_that_is_stopped_is_not_called_ready(laptop: Laptop, tmp_path: Path) -> None:
    listed = laptop.ssh("gw", "ls").stdout.decode()
    assert [line.split()[1] for line in listed.splitlines()] == ["ready", "ready", "unreachable"]


def test_the_doctor_names_the_server_that_holds_terminals(laptop: Laptop, tmp_path: Path) -> None:
    """On the developer's side; app02's entry names no holder, and no server answers for app03."""
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text(PASSWORD)
    given = {"--gateway": f"http://127.0.0.1:{laptop.gateway.port('web')}", "--user": "dev"}
    given["--token-file"] = str(secret)
    ends = [
        list(check_path(PathOptions(app, "web", given, {})))[-1]
        for app in ("app01", "app02", "app03")
    ]
    assert [(hop, finding.level) for hop, finding in ends] == [
        ("shell", Level.OK), ("shell", Level.FAIL), ("shell", Level.FAIL),
    ]  # fmt: skip
    assert "open terminals: 0" in ends[0][1].what
    assert "no holder of terminals is configured" in ends[1][1].what
