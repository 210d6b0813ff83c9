"""The kit for arm64, built by a cross compiler, and its programs under emulation (qemu-user)."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.terminal import Place
from tests.holder.conftest import kill_programs_of
from tests.holder.test_process import (
    test_a_shell_runs_what_is_typed_and_its_exit_code_comes_back,
    test_the_terminal_stays_when_all_have_gone_and_is_the_same_for_one_who_returns,
)
from tests.kit.conftest import built_kit
from tests.missing import missing

__all__ = [
    "test_a_shell_runs_what_is_typed_and_its_exit_code_comes_back",
    "test_the_terminal_stays_when_all_have_gone_and_is_the_same_for_one_who_returns",
]
COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64-static"
pytestmark = pytest.mark.timeout(600)  # the first one builds the kit


@pytest.fixture(scope="module")
def arm64_kit() -> Path:
    if not all(map(shutil.which, (COMPILER, EMULATOR, "patchelf"))):
        missing("apt-get install gcc-aarch64-linux-gnu qemu-user-static patchelf")
    return built_kit("--arch", "arm64", compiler=COMPILER)


@pytest.fixture
def place(arm64_kit: Path, tmp_path: Path) -> Iterator[Place]:
    """A place for terminals that the emulated holder keeps."""
    folder = tmp_path / "t"
    folder.mkdir(mode=0o700)
    terminal_place = Place(folder, (EMULATOR, "-0", "hold", str(arm64_kit / "bin/kit")))
    yield terminal_place
    kill_programs_of(folder)
    assert terminal_place.faults() == ""


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("bin/sshd -V", "OpenSSH_"),
        ("bin/sshd-session -V", "OpenSSH_"),
        ("libexec/tmux -V", "tmux "),
        ("libexec/rsync --version", "rsync  version"),
        ("bin/busybox echo started", "started"),
    ],
)
def test_a_program_of_the_kit_starts_with_the_libraries_of_the_kit(
    arm64_kit: Path, words: str, wanted: str
) -> None:
    """The emulator finds /kit, which their loader and libraries are named by, beside the kit alone."""
    program, *arguments = words.split()
    done = subprocess.run(
        [EMULATOR, "-L", arm64_kit.parent, arm64_kit / program, *arguments],
        capture_output=True,
        text=True,
    )
    assert (done.stdout + done.stderr).startswith(wanted)
