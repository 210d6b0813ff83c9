"""The host key that an SSH server shows, before anybody logs in."""

import asyncio

import asyncssh


async def shown_host_key(
    host: str, port: int, algorithms: tuple[str, ...], timeout_s: float
) -> str | None:
    """`type base64`; None where the server has no key of these types. Raises OSError."""
    try:
        async with asyncio.timeout(timeout_s):
            key = await asyncssh.get_server_host_key(
                host, port, server_host_key_algs=list(algorithms) or "default", config=None
            )
    except asyncssh.KeyExchangeFailed:
        return None
    except (asyncssh.Error, TimeoutError) as error:
        raise OSError(str(error) or f"no host key within {timeout_s:g} s") from None
    if key is None:
        return None
    return " ".join(key.export_public_key().decode("ascii").split()[:2])
