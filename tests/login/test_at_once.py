"""Many ssh of one machine whose login is over: one client asks, the others wait."""

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select

from stagedoor.laptop.login_result import DENIED
from stagedoor.store.sign_in.tables import pending_logins
from tests.fixtures.gateway import Gateway
from tests.login.laptop import BareLaptop, Desktop, Running, come_back
from tests.login.machine import Person
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("ended")


def end_login(laptop: BareLaptop, person: Person, gateway: Gateway) -> None:
    """The machine was logged in, and its certificate may no longer be used."""
    laptop.log_in(person)
    gateway.command("sign-in", "end", "--user", "dev", "--yes")
    (laptop.folder / "fresh_until").write_text("0\n")


@pytest.mark.identity(7)
@pytest.mark.timeout(600)
def test_fifty_ssh_at_once_are_one_request_and_one_tab(
    laptop: BareLaptop, person: Person, gateway: Gateway
) -> None:
    """Each is two connections, as a jump is: 50 of them cost the processor what they cost."""
    end_login(laptop, person, gateway)
    person, desktop, began = Person(laptop.base).sign_in(), Desktop(laptop.home), time.time()
    with ThreadPoolExecutor(50) as pool:
        all_ = [pool.submit(laptop.ssh, "app01.ssh", "echo in", **desktop.env) for _ in range(50)]
        wait_until(lambda: desktop.tabs)
        come_back(person, desktop.tabs[0].rpartition("/")[2])
    assert {future.result().stdout for future in all_} == {"in\n"}, [
        future.result().stderr for future in all_
    ]
    assert len(desktop.tabs) == 1
    begun = select(func.count()).where(pending_logins.c.created_at >= began)
    with gateway.service() as service, service.database.read() as transaction:
        assert transaction.execute(begun).scalar() == 1


@pytest.mark.identity(7)
@pytest.mark.parametrize("by_ssh", [True, False])
def test_many_at_once_ask_one_person_once(
    laptop: BareLaptop, person: Person, gateway: Gateway, by_ssh: bool
) -> None:
    """SIGKILL of the one who asks: another takes over."""
    end_login(laptop, person, gateway)
    person = Person(laptop.base).sign_in()
    arguments = ("login", "--if-needed", "--folder", str(laptop.folder))
    # A desktop, on which nothing is that could show a page.
    env = {"DISPLAY": ":99", "BROWSER": "/bin/true %s"}
    all_ = [
        laptop.start_as_ssh(**env) if by_ssh else laptop.start(*arguments, **env) for _ in range(10)
    ]

    def asking() -> list[Running]:
        return [
            client for client in all_ if "type:" in client.stderr and client.process.poll() is None
        ]

    wait_until(lambda: asking())
    assert len(asking()) == 1
    [first] = asking()
    first.process.kill()
    first.end()
    wait_until(lambda: asking())
    [second] = asking()
    come_back(person, second.login_id(laptop.base))
    codes = [client.end().returncode for client in all_ if client is not first]
    assert codes == [0] * 9
    assert sum("type:" in client.stderr for client in all_) == 2


def test_ssh_waits_for_another_s_login_with_no_client_of_its_own_and_hears_how_it_ended(
    laptop: BareLaptop, person: Person, gateway: Gateway
) -> None:
    """50 clients that wait cost two processors a second."""
    end_login(laptop, person, gateway)
    person, desktop = Person(laptop.base).sign_in(), Desktop(laptop.home)
    first = laptop.start_as_ssh(**desktop.env)
    id_ = first.login_id(laptop.base)
    others = [laptop.start_as_ssh(**desktop.env) for _ in range(3)]
    wait_until(lambda: all(is_asleep(other.process.pid) for other in others))
    person.post(f"/login/{id_}/deny")
    assert first.end().returncode == DENIED
    for other in others:
        done = other.end()
        assert done.returncode == DENIED
        assert "a login that another ssh on this machine started has failed" in done.stderr
    assert len(desktop.tabs) == 1
    assert not (laptop.folder / "asking").exists()


def is_asleep(shell: int) -> bool:
    """Return whether it waits for a `sleep`."""
    try:
        [child] = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        return Path(f"/proc/{child}/comm").read_text() == "sleep\n"
    except (OSError, ValueError):
        return False


def test_one_that_asks_no_more_is_not_waited_for(
    laptop: BareLaptop, person: Person, tmp_path: Path
) -> None:
    """After a crash the file names a process that is gone, or by now another: no more than 50 naps."""
    laptop.log_in(person)
    naps = tmp_path / "naps"
    nap = tmp_path / "sleep"
    nap.write_text(f"#!/bin/sh\necho >> {naps}\n")
    nap.chmod(0o755)
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    for pid, count in ((gone.pid, 0), (os.getpid(), 50)):
        (laptop.folder / "fresh_until").write_text("0\n")
        (laptop.folder / "asking").write_text(f"{pid}\n")
        naps.write_text("")
        done = laptop.start_as_ssh(PATH=f"{tmp_path}:{os.environ['PATH']}").end()
        assert (done.returncode, done.stderr) == (0, "")
        assert len(naps.read_text()) == count
        assert not (laptop.folder / "asking").exists()
