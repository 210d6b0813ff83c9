"""`tests.pace`: on a machine slower than the reference machine, limits grow and workers become fewer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import pace
from tests.plan import whole
from tests.test_run import ALONE
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent
A_TEST = """\
import time, pytest
def test_usual(): time.sleep(0.8)
@pytest.mark.timeout(0.5)
def test_marked(): time.sleep(0.8)
"""


@pytest.mark.parametrize(
    ("ratio", "factor"), [(0.4, 1.0), (1.29, 1.0), (1.3, 1.3), (2.04, 2.0), (40, pace.MAX_FACTOR)]
)
def test_a_small_ratio_is_chance_and_a_large_one_has_a_limit(ratio: float, factor: float) -> None:
    assert pace.rounded(ratio) == factor


@pytest.mark.parametrize(("factor", "busy", "waiting"), [("1", 3, 3), ("2", 2, 2), ("6", 1, 1)])
def test_a_slow_machine_has_fewer_workers(
    factor: str, busy: int, waiting: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(pace.VARIABLE, factor)
    workers = {share.name: share.workers for share in whole(2, tmp_path)}
    assert (workers["busy"], workers["waiting"]) == (busy, waiting)


def test_a_wait_lasts_longer_on_a_slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    monkeypatch.setenv(pace.VARIABLE, "3")
    with pytest.raises(AssertionError, match=r"not within 0.3 s"):
        wait_until(lambda: looks.append(1), 0.1)


@pytest.mark.parametrize(("factor", "status"), [("1", 1), ("4", 0)])
def test_pytest_s_own_limits_grow(factor: str, status: int, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(A_TEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntimeout = 0.5\n")
    hooks = (
        "from tests.pace import pytest_collection_modifyitems as pytest_collection_modifyitems\n"
    )
    (tmp_path / "conftest.py").write_text(hooks)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout", "."],
        cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, pace.VARIABLE: factor, "PYTHONPATH": str(ROOT), **ALONE},
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert ("2 failed" if status else "2 passed") in done.stdout


def test_a_run_measures_once_and_its_processes_inherit_it() -> None:
    code = "from tests import pace; import os; pace.factor(); print(os.environ[pace.VARIABLE])"
    env = {name: value for name, value in os.environ.items() if name != pace.VARIABLE}
    for given in ({}, {pace.VARIABLE: "2.5"}):
        shown = subprocess.check_output(
            [sys.executable, "-c", code], cwd=ROOT, env={**env, **given}, text=True
        )
        assert 1 <= float(shown) <= pace.MAX_FACTOR
        assert not given or shown == "2.5\n"
