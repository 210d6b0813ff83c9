"""Our gateway with one worker under its supervisor, and the upstreams as static shells."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from peers import NAME, PASSWORD, Door, Ground, MissingError, Peer
from peers.process import Process, free_port, program

SETTINGS = """\
data_dir = "{folder}/data"
[tunnel]
addresses = ["127.0.0.1:{port}"]
[workers]
count = 1
[log]
format = "json"
"""
SHELL = """\
[[shells.static]]
app = "{name}"
host = "127.0.0.1"
port = {upstream}
networks = ["127.0.0.0/8"]
"""


def find() -> str:
    """Return the path of the program beside this interpreter, or on PATH. Raises MissingError."""
    beside = Path(sys.executable).parent / "stagedoor"
    path = str(beside) if beside.exists() else program("stagedoor")
    if path is None:
        raise MissingError(
            "stagedoor is not installed; run the benchmarks with .venv/bin/python, as "
            "script/test makes it"
        )
    return path


def commands(stagedoor: str, file: Path) -> Callable[..., str]:
    """Return a function that runs `stagedoor WORD…` with the settings in `file`. It raises MissingError."""

    def command(*words: str, given: str = "") -> str:
        run = subprocess.run(
            [stagedoor, "--config", str(file), *words],
            capture_output=True,
            text=True,
            input=given,
            check=False,
        )
        if run.returncode:
            last = (run.stderr.strip().splitlines() or ["(it said nothing)"])[-1]
            raise MissingError(f"`stagedoor {' '.join(words)}` failed: {last}")
        return run.stdout

    return command


def add_user(command: Callable[..., str], folder: Path) -> None:
    """Add the user, with a grant to every app. `folder` gets the key `user_key` and the password in `token`.

    Raises MissingError.
    """
    keygen = program("ssh-keygen")
    if keygen is None or program("ssh") is None:
        raise MissingError("OpenSSH is not installed (apt-get install openssh-client)")
    key = folder / "user_key"
    subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    command("user", "add", NAME, "--password-stdin", given=PASSWORD + "\n")
    command("key", "add", NAME, f"{key}.pub")
    command("grant", "add", f"user:{NAME}", "*")
    token = folder / "token"
    token.touch(0o600)
    token.write_text(PASSWORD + "\n")


def start(ground: Ground) -> Peer:
    """Start the gateway. Raises MissingError and StartError."""
    stagedoor = find()
    folder = ground.folder / "stagedoor"
    folder.mkdir()
    port = free_port()
    file = folder / "stagedoor.toml"
    file.write_text(
        SETTINGS.format(folder=folder, port=port)
        + "".join(
            SHELL.format(name=name, upstream=upstream)
            for name, upstream in ground.upstreams.items()
        )
    )

    command = commands(stagedoor, file)
    command("user", "add", NAME, "--password-stdin", given=PASSWORD + "\n")
    command("grant", "add", f"user:{NAME}", "*")
    process = Process([stagedoor, "--config", str(file), "serve"], ground.folder / "stagedoor.log")
    process.answers(port)
    return Peer(
        "stagedoor",
        {name: Door(("127.0.0.1", port), (f"{name}.ssh", 22)) for name in ground.upstreams},
        process,
        command("--version").strip(),
        "two audit records for each tunnel, the first durable (fsync) before the first byte, and "
        "one line in a file; Basic, cached",
    )
