"""The WebShell on servers that were there already: held by what an entry names, and refused without."""

import getpass
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stagedoor.holder.folder import end_all
from stagedoor.laptop.doctor.path import PathOptions, walk_to
from stagedoor.wire.finding import Level
from stagedoor.wire.terminal.frames import Notice, NoticeKind
from tests.holder.compiled import compiled
from tests.path.gateway import PASSWORD
from tests.ports import free_port
from tests.ssh.test_direct_sshd import SSHD, Sshd
from tests.ssh.world import SSH_TABLE, World, static
from tests.web.test_pages import Person
from tests.web.visitor import Visitor, ticket

pytestmark = pytest.mark.usefixtures("openssh")
WEB = '[web]\naddresses = ["127.0.0.1:0"]\n'


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
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
    world = World(tmp_path / "gateway", settings, ("app01", "app02", "app03"))
    try:
        world.gateway.start()
        sshd.start((world.gateway.data_dir / "keys" / "user_ca.pub").read_text())
        yield world
    finally:
        world.gateway.stop()
        sshd.stop()
        with suppress(FileNotFoundError):
            end_all(terminals)


def test_a_terminal_stays_on_a_server_whose_entry_names_a_holder(world: World) -> None:
    port = world.gateway.port("web")
    first = Visitor(port).hello(ticket(port, "app01"))
    first.type(b"here=still; echo rea''dy\r")
    first.shows(b"ready")
    first.cut()
    again = Visitor(port).hello(ticket(port, "app01"))
    again.type(b"echo $here-there\r")
    again.shows(b"still-there")
    again.close()


def test_a_server_whose_entry_names_none_is_refused_in_words(world: World) -> None:
    port = world.gateway.port("web")
    visitor = Visitor(port).hello(ticket(port, "app02"))
    [notice] = visitor.notices
    assert isinstance(notice, Notice)
    assert notice.word is NoticeKind.DENIED
    assert "log in by ssh" in notice.text
    assert "[[shells.static]]" not in notice.text, "that is an administrator's"
    visitor.close()


def test_the_home_page_offers_what_there_is_and_says_what_answers(world: World) -> None:
    port = world.gateway.port("web")
    person = Person(port)
    person.sign_in()
    home = person.get("/").text
    one, two = home.split("<h3>app01</h3>")[1].split("<h3>app02</h3>")
    assert ">running<" in one
    assert ">Open terminal<" in one
    assert ">running<" in two
    assert ">Open terminal<" not in two, "it could only refuse"


def test_a_server_that_is_stopped_is_not_called_ready(world: World, tmp_path: Path) -> None:
    listed = world.ssh("gw", "ls").stdout.decode()
    assert [line.split()[1] for line in listed.splitlines()] == ["ready", "ready", "unreachable"]


def test_the_doctor_names_the_server_that_holds_terminals(world: World, tmp_path: Path) -> None:
    """On the developer's side; app02's entry names no holder, and no server answers for app03."""
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text(PASSWORD)
    given = {"--gateway": f"http://127.0.0.1:{world.gateway.port('web')}", "--user": "dev"}
    given["--token-file"] = str(secret)
    ends = [
        list(walk_to(PathOptions(app, "web", given, {})))[-1] for app in ("app01", "app02", "app03")
    ]
    assert [(hop, finding.level) for hop, finding in ends] == [
        ("shell", Level.OK), ("shell", Level.FAIL), ("shell", Level.FAIL),
    ]  # fmt: skip
    assert "holds 0 terminals" in ends[0][1].what
    assert "no command is known that holds terminals" in ends[1][1].what
