"""The shell that a person enters: shell, folder, names, terminal, motd; and what moves files and ports."""

import filecmp
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kit.conftest import Make
from tests.kit.container import Container
from tests.kit.terminal import Terminal
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(600)  # the first makes the images, and others wait for them

IMAGES = ("busybox", "debian-12", "debian-13", "musl", "distroless", "nothing")
BARE = ("distroless", "nothing")
SHELLS = {"debian-12": "bash", "debian-13": "bash"}


@pytest.mark.parametrize("image", IMAGES)
def test_a_terminal_in_every_image(make: Make, image: str) -> None:
    container = make(image, directory="/app" if image == "distroless" else "/").start()
    with Terminal(container) as terminal:
        terminal.type("echo shell=$SHELL name=$USER home=$HOME folder=$PWD arg0=$0")
        shell = terminal.expect(" name=app home=/ folder=").split("shell=")[-1]
        terminal.type("ls / | head -n 3; tty; exit 7")
        terminal.expect("/dev/pts/")
        assert terminal.wait() == 7
    expected = "/kit/busybox/sh" if image in BARE else f"/bin/{SHELLS.get(image, 'sh')}"
    assert shell.removeprefix("/usr") == expected


@pytest.mark.parametrize("image", IMAGES)
def test_a_command_in_every_image(make: Make, image: str) -> None:
    container = make(image, directory="/dev/shm").start()
    done = container.ssh("pwd; echo $((6*7)); echo to stderr >&2; exit 5")
    assert done.stdout == b"/dev/shm\n42\n"
    assert done.stderr == b"to stderr\n"
    assert done.returncode == 5


def test_the_working_directory_can_be_set(make: Make) -> None:
    container = make(settings={"STAGEDOOR_DIRECTORY": "/dev"}).start()
    assert container.ssh("pwd").stdout == b"/dev\n"


def test_a_working_directory_that_is_gone_is_no_hindrance(make: Make) -> None:
    container = make(settings={"STAGEDOOR_DIRECTORY": "/gone"}).start()
    assert container.ssh("pwd").stdout == b"/\n"


def test_the_login_name_is_the_images_own_for_its_uid(make: Make) -> None:
    container = make("debian-12", uid=33, gid=33).start()
    with Terminal(container) as terminal:
        terminal.type("echo name=$USER=$(whoami)")
        terminal.expect("name=www-data=www-data")


def test_a_uid_that_the_image_does_not_know_is_named_where_the_image_allows(make: Make) -> None:
    container = make("debian-12", settings={"STAGEDOOR_LOGIN_NAME": "maria"}, read_only=False)
    container.launch_with(lambda: container.file("/etc/passwd").chmod(0o666))
    wait_until(lambda: container.states)
    assert container.ssh("whoami; echo ~maria").stdout == b"maria\n/\n"


def test_a_name_that_the_image_has_for_another_is_not_taken_twice(make: Make) -> None:
    container = make("debian-12", settings={"STAGEDOOR_LOGIN_NAME": "www-data"}, read_only=False)
    container.launch_with(lambda: container.file("/etc/passwd").chmod(0o666))
    wait_until(lambda: container.states)
    assert container.ssh("grep -c ^www-data: /etc/passwd").stdout == b"1\n"
    assert container.ssh("id -u").stdout == b"12345\n"


def test_the_motd_is_the_controllers(make: Make) -> None:
    container = make()
    text = "This is a shell of app01 in staging.\nIt stops 30 min after.\n\x1b[2Jsteering\n"
    container.launch_with(lambda: container.file("/etc/stagedoor/shell/motd").write_text(text))
    wait_until(lambda: container.states)
    with Terminal(container) as terminal:
        terminal.expect("This is a shell of app01 in staging.\r\nIt stops 30 min after.\r\n")
        terminal.expect("[2Jsteering")
        assert b"\x1b[2J" not in terminal.shown


def test_terminals_show_a_notice_that_changes(make: Make) -> None:
    container = make().start()
    notice = container.file("/etc/stagedoor/shell/notice")
    with Terminal(container) as terminal:
        terminal.type("echo rea''dy")
        terminal.expect("ready")
        notice.write_text("app01 changed to shop:2\x1b[2J\n")
        terminal.expect("stagedoor: app01 changed to shop:2[2J.")
        # A later login has it in the greeting, and no terminal shows it twice.
        notice.unlink()
        terminal.type("sleep 3; echo do''ne")
        assert "moved on" not in terminal.expect("done")


def test_a_command_has_no_motd(make: Make) -> None:
    container = make().start()
    assert container.ssh("-tt", "echo hello").stdout == b"hello\r\n"


@pytest.mark.parametrize("image", ["busybox", "debian-12", "musl", "distroless"])
def test_tmux_of_the_kit(make: Make, image: str) -> None:
    hostile = {"LD_PRELOAD": "/lib/ld-musl-x86_64.so.1", "LD_LIBRARY_PATH": "/lib:/usr/lib"}
    container = make(image, environment=hostile if image == "musl" else {"MARK": "a b"}).start()
    with Terminal(container, term="xterm-256color") as terminal:
        terminal.type("tmux new -s work")
        terminal.expect("[work]")
        terminal.type("echo pane=$TERM=$LD_PRELOAD=")
        terminal.expect(f"pane=tmux-256color={hostile['LD_PRELOAD'] if image == 'musl' else ''}=")
        wait_until(lambda: container.states[-1] == "stagedoor: busy sessions=1 tmux=1")
    # The connection is gone, the work is not.
    wait_until(lambda: container.states[-1] == "stagedoor: busy sessions=0 tmux=1")
    with Terminal(container, "tmux attach -t work", term="xterm-256color") as terminal:
        terminal.expect("pane=tmux-256color=")
        terminal.type("exit")
        terminal.wait()
    wait_until(lambda: container.states[-1] == "stagedoor: idle")


def test_tmux_of_the_kit_after_a_setup_that_leaves_no_environment(make: Make) -> None:
    container = make(settings={"STAGEDOOR_SETUP": "exec env -i"}).start()
    with Terminal(container, "tmux new -s work", term="xterm-256color") as terminal:
        terminal.type("echo pane=$((6 * 7))")
        terminal.expect("pane=42")


def test_a_warning_reaches_the_pane_of_a_tmux(make: Make) -> None:
    container = make().start()
    with Terminal(container, term="xterm-256color") as terminal:
        terminal.type("tmux new -s work")
        terminal.expect("[work]")
        wait_until(lambda: container.states[-1] == "stagedoor: busy sessions=1 tmux=1")
        container.terminate()
        terminal.expect("this shell is being stopped")


@pytest.mark.parametrize(
    ("sent", "found"), [("alacritty", "alacritty"), ("nobodys", "xterm-256color")]
)
def test_a_terminal_that_the_image_does_not_know(make: Make, sent: str, found: str) -> None:
    container = make().start()
    with Terminal(container, term=sent) as terminal:
        terminal.type("echo term=$TERM dirs=$TERMINFO_DIRS.")
        terminal.expect(f"term={found} dirs=:/kit/share/terminfo.")


def test_a_terminal_that_the_image_knows_is_left_to_it(make: Make) -> None:
    container = make("debian-12").start()
    with Terminal(container, term="xterm-256color") as terminal:
        terminal.type("echo term=$TERM dirs=$TERMINFO_DIRS.")
        terminal.expect("term=xterm-256color dirs=.")


@pytest.mark.parametrize("image", ["busybox", "debian-12", "musl", "distroless"])
@pytest.mark.parametrize("way", ["scp", "scp -O", "rsync"])
def test_files_go_in_and_come_out(make: Make, tmp_path: Path, image: str, way: str) -> None:
    if shutil.which(way.split()[0]) is None:
        pytest.skip(f"{way} is missing; as root: script/test installs it")
    container = make(image, directory="/dev/shm").start()
    (tmp_path / "there").mkdir()
    for name, content in (("one", b"x" * 3_000_000), ("two words ü", b"2"), ("none", b"")):
        (tmp_path / "there" / name).write_bytes(content)
    for source, target in (
        (f"{tmp_path}/there", "app01.ssh:/dev/shm/in"),
        ("app01.ssh:/dev/shm/in", f"{tmp_path}/back"),
    ):
        if way == "rsync":
            command = ["rsync", "-rt", "-e", container.ssh_command(), f"{source}/", f"{target}/"]
        else:
            options = [o for o in container.ssh_options() if o not in ("-l", "dev")]
            command = [*way.split(), "-rq", *options, source, target]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    compared = filecmp.dircmp(tmp_path / "there", tmp_path / "back")
    assert compared.common_files == ["none", "one", "two words ü"]
    assert compared.left_only + compared.right_only + compared.diff_files == []


def test_sftp_starts_in_the_working_directory(make: Make, tmp_path: Path) -> None:
    container = make("musl", directory="/dev/shm").start()
    options = [o for o in container.ssh_options() if o not in ("-l", "dev")]
    (tmp_path / "file").write_text("here")
    done = subprocess.run(
        ["sftp", "-q", *options, "-b", "-", "dev@app01.ssh"],
        input=f"pwd\nput {tmp_path}/file\nls -l file\nrename file other\nget other {tmp_path}/back\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Remote working directory: /dev/shm" in done.stdout
    assert " app " in done.stdout  # the owner by name, though the image has none for the uid
    assert (tmp_path / "back").read_text() == "here"


def database(container: Container) -> subprocess.Popen[bytes]:
    """Start a server as an app would use it: it answers each line, on the loopback of the container."""
    listen = "TCP-LISTEN:5432,bind=127.0.0.1,reuseaddr,fork"
    # Half a second after the one end has no more, socat would cut the other off.
    socat = ("socat", "-t60", listen, "EXEC:cat")
    command = ["nsenter", f"--net=/proc/{container.pid}/ns/net", *socat]
    process = subprocess.Popen(command)

    def listens() -> bool:
        return ":1538 " in Path(f"/proc/{container.pid}/net/tcp").read_text()  # 5432 in hex

    wait_until(listens, what="socat listens")
    return process


def test_a_port_is_forwarded_to_the_apps_database(make: Make, tmp_path: Path) -> None:
    """By the name that the app knows it under, which the image's own files resolve."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost db.internal\n")
    options = ["rbind", "ro"]
    mount = {"destination": "/etc/hosts", "type": "bind", "source": str(hosts), "options": options}
    # A name service of the image's that the kit's libc does not have.
    switch = tmp_path / "nsswitch.conf"
    switch.write_text("hosts: wins\npasswd: wins\n")
    other = {**mount, "destination": "/etc/nsswitch.conf", "source": str(switch)}
    container = make("musl", more_mounts=(mount, other)).start()
    with database(container) as process:
        done = container.ssh("-W", "db.internal:5432", stdin=b"select 1\n")
        assert done.stdout == b"select 1\n"
        process.terminate()


def test_remote_ports_are_closed_unless_the_settings_open_them(make: Make) -> None:
    command = ("-o", "ExitOnForwardFailure=yes", "-R", "127.0.0.1:8081:127.0.0.1:1", "true")
    assert make().start().ssh(*command).returncode == 255
    opened = make(settings={"STAGEDOOR_PERMIT_LISTEN": "127.0.0.1:8081"}).start()
    assert opened.ssh(*command).returncode == 0
    assert opened.ssh(*command[:2], "-R", "127.0.0.1:8082:127.0.0.1:1", "true").returncode == 255


def test_the_agent_comes_along(make: Make, tmp_path: Path) -> None:
    container = make().start()
    socket = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL) as agent:
        wait_until(socket.exists)
        done = container.ssh("-o", f"ForwardAgent={socket}", "test -S $SSH_AUTH_SOCK && echo there")
        agent.terminate()
    assert done.stdout == b"there\n"


@pytest.mark.parametrize("image", ["busybox", "debian-12", "distroless"])
def test_a_command_line_finds_the_kit_s_programs_wherever_it_names_them(
    make: Make, image: str
) -> None:
    container = make(image).start()
    done = container.ssh("true; command -v rsync && rsync --version | head -n 1")
    assert done.stdout.startswith(b"/kit/"), done.stderr
    # The image's own come first, and the environment of a single command is the app's to the byte.
    assert (
        not container.ssh("true; command -v env").stdout.startswith(b"/kit/")
        or image == "distroless"
    )
    if image != "distroless":
        assert b"/kit" not in container.ssh("env").stdout


def test_packages_of_another_image_are_found_after_the_apps_own(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "packages/usr/bin"
    folder.mkdir(parents=True)
    (folder / "extra").write_text("#!/bin/sh\necho extra\n")
    (folder / "extra").chmod(0o755)
    mount = {
        "destination": "/packages",
        "type": "bind",
        "source": str(tmp_path / "packages"),
        "options": ["rbind", "ro"],
    }
    container = make(settings={"STAGEDOOR_PACKAGES": "/packages"}, more_mounts=[mount]).start()
    assert container.ssh("extra").stdout == b"extra\n"
    assert container.ssh("env").stdout.startswith(b"PATH=/usr/local/sbin:")
    assert b"/packages" not in container.ssh("env").stdout
