"""An identity provider for the demo: npm's oidc-provider, which accepts any name with any password."""

import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from stagedoor.demo.clients import write_private_file
from stagedoor.model.errors import StagedoorError

PACKAGE = "oidc-provider@9"
NAME = "Demo"
GROUP = "crew"
READY_S = 120.0
"""Seconds for npm to fetch a few MB, and then for the provider to start."""
_SETTINGS = """
[[sso]]
name = "{name}"
issuer = "{issuer}"
client_id = "stagedoor"
client_secret_file = {secret_file}
redirect_uri = "{redirect_uri}"
groups = {{ "{group}" = "{group}" }}
"""


@dataclass(frozen=True)
class DemoProvider:
    """A running provider. `settings` are for the gateway's settings; it must serve the web at `web_port`."""

    settings: str
    web_port: int


@asynccontextmanager
async def run_provider(folder: Path, host: str) -> AsyncIterator[DemoProvider]:
    """Run the provider until the block ends. Raises StagedoorError if it cannot be installed or started."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise StagedoorError(
            "the identity provider of --sso needs Node 20 and npm, which are not on PATH; without --sso the "
            "demo signs in by passwords"
        )
    home = folder / "provider"
    home.mkdir()
    (home / "provider.mjs").write_bytes((files("stagedoor.demo") / "provider.mjs").read_bytes())
    # Files that npm and Node leave behind are removed with the folder.
    env = os.environ | {"TMPDIR": str(home)}
    quiet = ("--no-audit", "--no-fund", "--ignore-scripts")
    await _install(env, npm, "install", *quiet, "--prefix", str(home), PACKAGE)
    web_port, port = _free_port(host), _free_port(host)
    redirect_uri, issuer = f"http://{host}:{web_port}/sign-in/sso", f"http://{host}:{port}"
    secret = secrets.token_urlsafe(24)
    secret_file = write_private_file(home / "secret", secret)
    given = {"issuer": issuer, "port": port, "client_id": "stagedoor", "client_secret": secret}
    config = write_private_file(
        home / "provider.json", json.dumps(given | {"redirect_uri": redirect_uri})
    )
    process = await asyncio.create_subprocess_exec(
        node,
        str(home / "provider.mjs"),
        str(config),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=env,
        start_new_session=True,  # Ctrl-C is for the demo, which then ends the provider
    )
    try:
        await _wait_until_ready(process)
        text = _SETTINGS.format(
            name=NAME,
            issuer=issuer,
            secret_file=json.dumps(str(secret_file)),
            redirect_uri=redirect_uri,
            group=GROUP,
        )
        yield DemoProvider(text, web_port)
    finally:
        await _end(process)


async def _wait_until_ready(process: asyncio.subprocess.Process) -> None:
    """Wait for the provider's word that it listens. Raises StagedoorError."""
    assert process.stdout is not None, "it is a pipe"
    line = b""
    with suppress(TimeoutError):
        async with asyncio.timeout(READY_S):
            line = await process.stdout.readline()
    if line != b"ready\n":
        raise StagedoorError(f"{PACKAGE} does not start; it needs Node 20 or later")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the process with its whole group, since asyncio waits until every process has closed its pipes."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def _install(env: Mapping[str, str], *command: str) -> None:
    """Run npm's installation. Raises StagedoorError with npm's last line."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=env,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(READY_S):
            _, errors = await process.communicate()
    except TimeoutError:
        errors = b"npm did not answer"
    finally:
        await _end(process)
    if process.returncode != 0:
        last = (errors.decode("utf-8", "replace").strip().splitlines() or ["npm said nothing"])[-1]
        raise StagedoorError(
            f"npm cannot install {PACKAGE} ({last[:200]}); without --sso the demo signs in by passwords"
        )


def _free_port(host: str) -> int:
    """Return a free port, which the redirect URI needs before the gateway listens."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
