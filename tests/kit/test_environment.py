"""Known failure 1: a session has the environment that the container started with, byte for byte."""

import string
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kit.conftest import Make
from tests.kit.container import Container
from tests.kit.terminal import Terminal
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(600)  # the first makes the images, and others wait for them

HARD = {
    "QUOTES": """it's "quoted" `here` $HOME \\ and %s""",
    "LINES": "first\nsecond\n\nfourth\n",
    "EMPTY": "",
    "SPACES": "  around \t",
    "UTF8": "Grüße, 世界 🎭",
    "EQUALS": "a=b=c",
    "GLOB": "* ? [a] ~ {1,2} !history #comment ; & | < >",
    "CONTROL": "\x01\x1b[31mred\x7f",
    "with.dot-and-dash": "a name that Kubernetes allows and shells do not",
    "LD_LIBRARY_PATH": "/opt/app/lib",
    "LD_PRELOAD": "/nowhere/libjemalloc.so",
    "SSHD_OPTS": "not sshd's business",
    "PERL5LIB": "/opt",
    "BASH_ENV": "/nowhere/bashrc",
    "ENV": "/nowhere/shrc",
    "LOCPATH": "/nowhere",
    "TERM": "",
}


def entries(printed: bytes) -> dict[bytes, bytes]:
    """Parse the output of `env -0`."""
    pairs = (entry.partition(b"=") for entry in printed.split(b"\0") if entry)
    return {name: value for name, _, value in pairs}


def of_the_app(printed: bytes) -> dict[bytes, bytes]:
    """Return the same without what ssh adds for this session."""
    return {
        n: v for n, v in entries(printed).items() if n not in (b"SSH_CLIENT", b"SSH_CONNECTION")
    }


def same_as_exec(container: Container) -> None:
    """`ssh app01.ssh env` prints what `kubectl exec … env` does."""
    done = container.ssh("env", "-0")
    assert (done.returncode, done.stderr) == (0, b"")
    assert of_the_app(done.stdout) == entries(container.run("env", "-0"))


def test_hard_values_are_the_same_as_by_exec(make: Make) -> None:
    same_as_exec(make(environment=HARD).start())


def test_128_kib_are_the_same_as_by_exec(make: Make) -> None:
    lines = {f"LINE_{n:03}": f"{n}\n" * 200 for n in range(120)}
    large = {"LARGE": "x" * 80_000 + "\n'end'"}
    size = sum(len(n) + len(v) + 2 for n, v in {**lines, **large}.items())
    assert size > 128 * 1024
    same_as_exec(make(environment={**lines, **large}).start())


NAMES = st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=20).filter(
    # What runc or Debian's loader take for themselves, not what the kit does.
    lambda name: not name[0].isdigit() and name not in ("PATH", "HOME") and name[:3] != "LD_"
)
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=300)


@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(environment=st.dictionaries(NAMES, VALUES, min_size=20, max_size=60))
def test_any_environment_is_the_same_as_by_exec(make: Make, environment: dict[str, str]) -> None:
    with closing(make(environment=environment)) as container:
        same_as_exec(container.start())


def test_a_comparison_that_differs_fails(make: Make) -> None:
    container = make(environment=HARD).start()
    saved = container.file("/run/stagedoor/environ")
    saved.write_bytes(saved.read_bytes().replace(b"first\nsecond", b"first second"))
    with pytest.raises(AssertionError):
        same_as_exec(container)


def test_a_command_line_that_needs_a_shell_has_the_same_values(make: Make) -> None:
    container = make("debian-12", environment={**HARD, "LD_PRELOAD": "", "BASH_ENV": ""}).start()
    done = container.ssh("cd / && env -0 | cat")
    of_the_shell = {b"_", b"PWD", b"OLDPWD", b"SHLVL"}
    seen = {n: v for n, v in of_the_app(done.stdout).items() if n not in of_the_shell}
    path = seen.pop(b"PATH")
    expected = entries(container.run("env", "-0"))
    assert path == expected.pop(b"PATH") + b":/kit/tools:/kit/busybox"
    assert seen == expected


def test_a_terminal_adds_only_what_belongs_to_it(make: Make) -> None:
    # A shell drops names that it could not set.
    names = {n: v for n, v in HARD.items() if n.isidentifier() and n != "LD_PRELOAD"}
    container = make(environment=names).start()
    expected = entries(container.run("env", "-0"))
    with Terminal(container) as terminal:
        terminal.type("env -0 >/dev/shm/seen; echo do''ne")
        terminal.expect("done")
    seen = entries(container.run("cat", "/dev/shm/seen"))
    added = {n.decode() for n in seen.keys() - expected.keys()}
    assert added <= {
        *("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY"),
        *("USER", "LOGNAME", "SHELL", "LANG", "TERMINFO_DIRS", "PWD", "OLDPWD", "SHLVL", "_"),
    }
    changed = {n.decode() for n, v in expected.items() if seen.get(n) != v}
    assert changed == {"TERM", "PATH"}
    assert seen[b"TERM"] == b"xterm"
    assert seen[b"PATH"] == expected[b"PATH"] + b":/kit/tools:/kit/busybox"


def test_sftp_runs_in_the_apps_environment_too(make: Make) -> None:
    container = make(environment=HARD).start()
    command = ["ssh", *container.ssh_options(), "-s", "app01.ssh", "sftp"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sftp:
        wait_until(lambda: "sftp-server" in container.processes().values(), costly=True)
        pid = next(p for p, name in container.processes().items() if name == "sftp-server")
        seen = entries(Path(f"/proc/{pid}/environ").read_bytes())
        assert sftp.stdin is not None
        sftp.stdin.close()
    # The kit's own program does not load the image's libraries.
    expected = {
        n.encode(): v.encode() for n, v in HARD.items() if n[:3] != "LD_" and n != "LOCPATH"
    }
    assert {n: v for n, v in seen.items() if n in expected} == expected
    assert not any(name.startswith(b"LD_") for name in seen)


def test_an_entrypoint_that_sets_the_environment_is_run_first(make: Make) -> None:
    container = make("entrypoint", settings={"STAGEDOOR_SETUP": "/app/entrypoint"}).start()
    seen = entries(container.ssh("env", "-0").stdout)
    assert seen[b"SET_BY_ENTRYPOINT"] == b"it's set at run time"
    assert seen[b"DATABASE_URL"].startswith(b"postgresql://app@db/app?started=")


def test_a_file_to_source_can_set_the_environment(make: Make, tmp_path: object) -> None:
    container = make(
        settings={"STAGEDOOR_SETUP": 'FROM_SETUP="two words"; export FROM_SETUP; exec'}
    ).start()
    assert entries(container.ssh("env", "-0").stdout)[b"FROM_SETUP"] == b"two words"


def test_the_clients_locale_is_taken_if_the_image_has_it(make: Make) -> None:
    container = make().start()
    options = ("-o", "SetEnv=LC_ALL=C.UTF-8 LANG=xx_YY.UTF-8 COLORTERM=truecolor OTHER=1")
    seen = entries(container.ssh(*options, "env", "-0").stdout)
    assert seen[b"LC_ALL"] == b"C.UTF-8"
    assert seen[b"COLORTERM"] == b"truecolor"
    assert b"LANG" not in seen
    assert b"OTHER" not in seen


def test_the_apps_own_locale_stands(make: Make) -> None:
    container = make(environment={"LANG": "de_DE.UTF-8"}).start()
    seen = entries(container.ssh("-o", "SetEnv=LANG=C.UTF-8", "env", "-0").stdout)
    assert seen[b"LANG"] == b"de_DE.UTF-8"
