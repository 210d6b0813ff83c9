"""The laptop's programs speak the language of the locale, as one file as well."""

import subprocess
import sys
from pathlib import Path

import pytest

from stagedoor.laptop.onefile import build_client_file
from stagedoor.laptop.tunnel.onefile import build_tunnel_file


def run(program: list[str], *words: str, **variables: str) -> str:
    done = subprocess.run(
        [*program, *words],
        capture_output=True,
        timeout=30,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": "/nonexistent",
            "PYTHONIOENCODING": "utf-8",
            **variables,
        },
    )
    assert done.returncode
    return done.stderr.decode()


@pytest.fixture(scope="module", params=["package", "one file", "the tunnel's file"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    if request.param == "package":
        return [sys.executable, "-m", "stagedoor", "tunnel"]
    file: Path = tmp_path_factory.mktemp("one") / "program"
    is_client = request.param == "one file"
    file.write_bytes(build_client_file() if is_client else build_tunnel_file())
    return [sys.executable, "-I", str(file), *(["tunnel"] if is_client else [])]


def test_a_line_is_in_the_locale_s_language(program: list[str]) -> None:
    assert run(program, "app01.ssh", LANG="C").startswith("stagedoor: no gateway is named")
    chinese = run(program, "app01.ssh", LANG="zh_CN.UTF-8")
    assert chinese.startswith("stagedoor: 没有指定网关：请加上 --gateway HOST:PORT")
    closed = run(
        program, "--gateway", "127.0.0.1:1", "--via", "direct", "app01.ssh", LC_ALL="zh_CN.UTF-8"
    )
    assert closed.startswith("stagedoor: 无法连接网关 127.0.0.1:1：")


def test_the_walk_to_a_shell_is_in_it_too(tmp_path: Path) -> None:
    file = tmp_path / "stagedoor"
    file.write_bytes(build_client_file())
    words = ("doctor", "app01.ssh", "--how", "connect", "--gateway", "127.0.0.1:1")
    done = subprocess.run(
        [sys.executable, "-I", str(file), *words],
        capture_output=True,
        timeout=30,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "LANG": "zh_CN.UTF-8",
            "PYTHONUTF8": "1",
        },
    )
    assert "FAIL  网关: 无法连接网关 127.0.0.1:1：" in done.stdout.decode()
    assert "\n      请检查地址和端口" in done.stdout.decode()
