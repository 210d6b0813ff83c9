"""Clients other than OpenSSH, by each access method that they can take: the table of other-clients.md."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.fixtures.gateway import PASSWORD, SSH_TABLE, local
from tests.fixtures.laptop import Laptop, open_laptop
from tests.missing import missing
from tests.waiting import BOUND_S

METHODS = ("connect", "jump", "direct")


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    with open_laptop(tmp_path_factory.mktemp("clients"), SSH_TABLE + local("app01")) as laptop:
        yield laptop


def run(*words: str | Path, home: Path | None = None, input: bytes = b"") -> bytes:
    """Run a client to its end and return what it prints."""
    if shutil.which(str(words[0])) is None:
        missing(f"{words[0]} is not installed")
    environment = {**os.environ, **({"HOME": str(home)} if home else {})}
    done = subprocess.run(
        words, input=input, capture_output=True, timeout=BOUND_S, env=environment, check=False
    )
    assert done.returncode == 0, (done.stdout[-500:], done.stderr[-1500:])
    return done.stdout


def tunnel(laptop: Laptop) -> str:
    """Return a ProxyCommand to app01 by HTTP CONNECT with a stock client; no `%` in it."""
    netrc = laptop.folder / "ncat"
    netrc.write_text(f"#!/bin/sh\nexport NCAT_PROXY_AUTH='dev:{PASSWORD}'\nexec ncat --proxy-type http "
                     f"--proxy 127.0.0.1:{laptop.gateway.port()} app01.ssh 22\n")  # fmt: skip
    netrc.chmod(0o700)
    return str(netrc)


def ssh_command(laptop: Laptop, method: str) -> tuple[str, str]:
    """Return how OpenSSH is called by a client that runs it, and the host to name."""
    options = [f"ProxyCommand {tunnel(laptop)}", "ProxyUseFdpass no"] if method == "connect" else []
    config = laptop.config(*options) if method != "connect" else own_config(laptop, options)
    host = "app01@gw" if method == "direct" else "app01.ssh"
    return f"ssh -a -x -F {config}", host


def own_config(laptop: Laptop, options: Sequence[str]) -> Path:
    """Write an ssh_config whose ProxyCommand comes before the jump of the laptop's own."""
    config = laptop.config()
    lines = "".join(f"  {option}\n" for option in options)
    config.write_text(
        f"Host app01.ssh\n{lines}" + config.read_text().replace("  ProxyJump gw\n", "")
    )
    return config


@pytest.mark.parametrize("method", METHODS)
def test_lftp_mirrors_a_folder(laptop: Laptop, method: str, tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / "here" / f"{number}").mkdir(parents=True)
        (tmp_path / "here" / f"{number}" / "file").write_bytes(os.urandom(1000))
    command, host = ssh_command(laptop, method)
    user, _, name = host.rpartition("@")
    run(
        "lftp",
        "-c",
        f'set sftp:connect-program "{command}"; set net:max-retries 1; '
        f"open -u {user or 'dev'}, sftp://{name}; "
        f"mirror -R {tmp_path}/here {tmp_path}/there; mirror {tmp_path}/there {tmp_path}/back",
    )
    run("diff", "-r", tmp_path / "here", tmp_path / "back")


Putty = Callable[[str, str], list[str | Path]]


@pytest.fixture(scope="module")
def putty(laptop: Laptop) -> Putty:
    """Return how a program of PuTTY is called for a method, with its own kind of key and of session."""
    home = laptop.folder / "putty"
    (home / ".putty" / "sessions").mkdir(parents=True)
    key = home / "key.ppk"
    run("puttygen", laptop.key, "-O", "private", "-o", key)
    session = home / ".putty" / "sessions" / "gateway"
    session.write_text(
        f"ProxyMethod=3\nProxyHost=127.0.0.1\nProxyPort={laptop.gateway.port()}\n"
        f"ProxyUsername=dev\nProxyPassword={PASSWORD}\nProxyLocalhost=1\nPublicKeyFile={key}\n"
    )

    def command(program: str, method: str) -> list[str | Path]:
        plink = f"plink -batch -hostkey {host_key(laptop)} -i {key} -P {laptop.port} dev@127.0.0.1"
        common: list[str | Path] = [program, "-batch", "-i", key]
        if method == "direct":
            at = ["-P", str(laptop.port), "app01@127.0.0.1"]
            return [*common, "-hostkey", host_key(laptop), *at]
        way = (
            ["-proxycmd", f"{plink} -nc app01.ssh:22"] if method == "jump" else ["-load", "gateway"]
        )
        first = fingerprint_shown(["plink", *common[1:], *way, "dev@app01.ssh", "true"], home)
        return [*common, "-hostkey", first, *way, "dev@app01.ssh"]

    return command


def host_key(laptop: Laptop) -> str:
    """Return the fingerprint of the gateway's host key."""
    key = laptop.gateway.data_dir / "keys" / "ssh_host_key.pub"
    return run("ssh-keygen", "-lf", key).split()[1].decode()


def fingerprint_shown(command: Sequence[str | Path], home: Path) -> str:
    """Return the host key that PuTTY shows at a first login, as a person reads and accepts it."""
    done = subprocess.run(
        command,
        capture_output=True,
        timeout=BOUND_S,
        env={**os.environ, "HOME": str(home)},
        check=False,
    )
    shown = re.search(r"SHA256:\S+", done.stderr.decode())
    assert shown, done.stderr
    return shown.group()


@pytest.mark.parametrize("method", METHODS)
def test_plink_runs_a_command_and_psftp_moves_a_file(
    laptop: Laptop, putty: Putty, method: str, tmp_path: Path
) -> None:
    home = laptop.folder / "putty"
    assert run(*putty("plink", method), "cat; echo end", home=home, input=b"in ") == b"in end\n"
    sent = os.urandom(100_000)
    (tmp_path / "here").write_bytes(sent)
    batch = tmp_path / "batch"
    batch.write_text(
        f"put {tmp_path}/here {tmp_path}/there\nget {tmp_path}/there {tmp_path}/back\n"
    )
    run(*putty("psftp", method), "-b", batch, home=home)
    assert (tmp_path / "back").read_bytes() == sent


@pytest.mark.parametrize("method", METHODS)
def test_dropbears_client_runs_a_command(laptop: Laptop, method: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    run("dropbearconvert", "openssh", "dropbear", laptop.key, key)
    place = {
        "connect": ["-J", tunnel(laptop), "dev@app01.ssh"],
        "jump": [f"dev@127.0.0.1/{laptop.port},dev@app01.ssh/22"],
        "direct": ["-p", str(laptop.port), "app01@127.0.0.1"],
    }[method]
    dbclient = shutil.which("dbclient") or "dbclient"  # a jump runs it again, by this path
    done = run(
        dbclient, "-y", "-y", "-i", key, *place, "cat; echo end", home=tmp_path, input=b"in "
    )
    assert done == b"in end\n"


def test_curl_writes_and_reads_a_file_through_connect(laptop: Laptop, tmp_path: Path) -> None:
    sent = os.urandom(300_000)
    (tmp_path / "here").write_bytes(sent)
    curl = ["curl", "-sS", "--insecure", "--key", laptop.key, "--pubkey", f"{laptop.key}.pub"]
    curl += ["--proxytunnel", "--proxy", f"http://127.0.0.1:{laptop.gateway.port()}"]
    curl += ["--proxy-user", f"dev:{PASSWORD}"]
    url = f"sftp://dev@app01.ssh:22{tmp_path}/there"
    run(*curl, "-T", tmp_path / "here", url)
    run(*curl, "-o", tmp_path / "back", url)
    assert (tmp_path / "back").read_bytes() == sent
