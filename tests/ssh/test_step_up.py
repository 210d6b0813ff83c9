"""Step-up by ssh: an app that wants a fresh proof that somebody is there."""

from base64 import b64encode
from collections.abc import Iterator

import asyncssh
import pytest

from stagedoor.admin import service as admin
from tests.ssh.test_credentials import SK, TOUCHED, VERIFIED, SecurityKey
from tests.ssh.world import SSH_TABLE, Echo, World, open_world, static

STEP_UP = '[step_up]\ntargets = ["*.production", "secret"]\n'


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    echo = Echo()
    settings = SSH_TABLE + STEP_UP + static("app01", echo.port) + static("secret", echo.port)
    with open_world(tmp_path_factory.mktemp("step-up"), settings, ("app01", "secret")) as found:
        yield found
    echo.close()


class SecurityKeyPair(asyncssh.SSHKeyPair):
    """A security key as asyncssh's client takes one; `flags` are what it signs."""

    def __init__(self, key: SecurityKey, flags: int) -> None:
        super().__init__(SK, SK, (SK,), (SK,), key.blob, None)
        self._key = key
        self._flags = flags

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data, self._flags)


async def jumps(world: World, pair: SecurityKeyPair, app: str) -> bytes | str:
    """What an echo behind `app` says back, or why there is none."""
    async with asyncssh.connect(
        "127.0.0.1", world.port, username="dev", client_keys=[pair], known_hosts=None, config=None
    ) as connection:
        try:
            reader, writer = await connection.open_connection(f"{app}.ssh", 22, encoding=None)
        except asyncssh.ChannelOpenError as error:
            return error.reason
        writer.write(b"SSH-2.0-x\r\n")
        said = await reader.readexactly(11)
        writer.close()
        return bytes(said)


@pytest.mark.identity(35)
async def test_a_security_key_that_asked_for_a_pin_needs_no_other_proof(world: World) -> None:
    key = SecurityKey()
    with world.service() as service:
        admin.add_keys(service, "dev", [f"{SK.decode()} {b64encode(key.blob).decode()}"])
    assert (
        await jumps(world, SecurityKeyPair(key, TOUCHED | VERIFIED), "secret") == b"SSH-2.0-x\r\n"
    )
    touched = await jumps(world, SecurityKeyPair(key, TOUCHED), "secret")
    assert "secret wants a fresh proof that you are there (step_up.targets)" in str(touched)
    assert await jumps(world, SecurityKeyPair(key, TOUCHED), "app01") == b"SSH-2.0-x\r\n"


def test_a_registered_key_alone_is_refused_with_what_would_help(world: World) -> None:
    refused = world.ssh("secret.ssh")
    assert refused.returncode != 0
    assert b"which this key cannot give: sign in on the WebShell's page" in refused.stderr
    denied = [
        (one["identity"], one["target"])
        for one in world.gateway.sessions("denied")
        if one["reason"] == "step_up_needed"
    ]
    assert set(denied) == {("dev", "secret.ssh")}
