"""`stagedoor serve` that cannot start says why in one line, and exits with a code of its own."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.gateway import static
from tests.net.peers import write_certificate
from tests.path.faulty import serving
from tests.ports import free_port


def serve(folder: Path, settings: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run one start that fails."""
    file = folder / "stagedoor.toml"
    file.write_text(settings)
    return subprocess.run(
        [sys.executable, "-m", "stagedoor", "--config", file, "serve"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,  # type: ignore[call-overload]
    )


def the_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that was written; on stderr, and nothing on stdout."""
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("stagedoor: ")
    return line


def test_a_port_that_is_taken_is_named_with_its_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = serve(
            tmp_path, f'data_dir = "{tmp_path}/data"\n[tunnel]\naddresses = ["{address}"]\n'
        )
    assert done.returncode == 1
    line = the_line(done)
    assert address in line
    assert "Address already in use" in line
    assert "tunnel.addresses" in line


def test_a_gateway_starts_with_5000_apps(tmp_path: Path) -> None:
    """Its settings take more than the 64 KiB that asyncio's streams read as one line."""
    apps = "".join(static(f"more{number}", 22) for number in range(5000))
    with serving(tmp_path, apps) as gateway:
        assert gateway.ask() == 200


def test_a_second_gateway_does_not_share_the_port_of_the_first_unseen(tmp_path: Path) -> None:
    """Both would set SO_REUSEPORT, and each would get half of the logins."""
    with serving(tmp_path) as gateway:
        folder = tmp_path / "second"
        folder.mkdir()
        done = serve(
            folder,
            f'data_dir = "{folder}/data"\n[tunnel]\naddresses = ["127.0.0.1:{gateway.own_port}"]\n',
        )
        assert done.returncode == 1
        assert "Address already in use" in the_line(done)
        assert gateway.ask() == 200


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ("[tunnel]\naddresses = [1]\n", "tunnel.addresses"),
        ("[tunnels]\n", "tunnels"),
        ('[listen]\nnetworks = ["10.0.0.1/8"]\n', "listen.networks"),
        ('[tunnel]\ntls_addresses = ["127.0.0.1:0"]\n', "tunnel.certificate_file"),
        ("[workers]\ncount = 0\n", "workers.count"),
        ("= 1\n", "TOML"),
    ],
)
def test_bad_settings_are_named_and_exit_with_2(tmp_path: Path, settings: str, named: str) -> None:
    done = serve(tmp_path, f'data_dir = "{tmp_path}/data"\n{settings}')
    assert done.returncode == 2
    assert named in the_line(done)
    assert not (tmp_path / "data").exists(), "nothing was made"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = serve(tmp_path, f'data_dir = "{tmp_path}/file/data"\n')
    assert done.returncode == 1
    assert f"{tmp_path}/file" in the_line(done)


def test_a_store_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data/stagedoor.db").write_bytes(b"this is no database " * 100)
    done = serve(tmp_path, f'data_dir = "{tmp_path}/data"\n')
    assert done.returncode == 1
    assert "stagedoor.db" in the_line(done)


def test_an_encrypted_key_is_named_with_what_to_do(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)
    subprocess.run(
        ["openssl", "pkey", "-in", key, "-aes128", "-passout", "pass:x", "-out", f"{key}.enc"],
        check=True,
    )
    done = serve(
        tmp_path,
        f'data_dir = "{tmp_path}/data"\n[tunnel]\ntls_addresses = ["127.0.0.1:0"]\n'
        f'certificate_file = "{cert}"\nkey_file = "{key}.enc"\n',
    )
    assert done.returncode == 2
    assert "tunnel.key_file" in the_line(done)


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-"])
def test_a_log_that_cannot_be_written_costs_no_login(tmp_path: Path, stderr: str) -> None:
    """stderr is a file on a full disk, or closed: a refusal still has its message, and the others log in."""
    folder = tmp_path / "outer"
    folder.mkdir()
    with serving(folder) as outer:
        port = free_port()
        file = tmp_path / "stagedoor.toml"
        file.write_text(outer.file.read_text().replace(f":{outer.own_port}", f":{port}"))
        outer.own_port, before = port, outer.own_port
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service_manager:
            service_manager.bind(str(tmp_path / "notify"))
            service_manager.settimeout(60)
            process = subprocess.Popen(
                [
                    *("sh", "-c", f'exec "$@" {stderr}', "sh"),
                    *(sys.executable, "-m", "stagedoor", "--config", str(file), "serve"),
                ],
                env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
            )
            assert service_manager.recv(100) == b"READY=1"
        try:
            assert outer.ask() == 200
            assert outer.ask("nowhere-ssh:22") == 404
            assert outer.ask("x.example:22") == 403
        finally:
            process.terminate()
            assert process.wait(60) == 0
            outer.own_port = before


def test_the_supervisors_death_as_a_worker_starts_leaves_no_traceback() -> None:
    """Its pipe ends before the first message."""
    done = subprocess.run(
        [sys.executable, "-m", "stagedoor.serve.worker"],
        input=b"",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
