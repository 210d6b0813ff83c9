"""`python -m stagedoor.shells.local APP`: the process of a local shell, which only `start` runs.

It reads its order from standard input, so that the order is not visible in argv or the environment.
"""

import asyncio
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from stagedoor.shells.local.process import LocalAccount
from stagedoor.shells.local.settings import Order
from stagedoor.shells.local.shell_folder import Running, ShellFolder


def _send(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


async def _serve(order: Order) -> None:
    _send(step="loading")
    import asyncssh

    from stagedoor.shells.local.sshd import Sshd

    place = ShellFolder(Path(order.folder))
    key = asyncssh.generate_private_key("ssh-ed25519")
    _send(step="signing the host key")
    _send(sign=key.export_public_key().decode().strip())
    certificate = json.loads(sys.stdin.readline())["certificate"]
    if order.shell.directory is not None:
        _send(step="entering the directory", detail=order.shell.directory)
        os.chdir(order.shell.directory)
    else:
        with suppress(OSError):
            # Not $HOME, which may be that of another account: under `runuser -u` it is root's.
            os.chdir(LocalAccount.of_process().home)
    _send(step="listening")
    sshd = Sshd(order, place)
    port = await sshd.listen(key, certificate)
    life_sign = place.publish(
        Running(os.getpid(), sshd.host, port, order.hash_order(), time.time())
    )
    _send(ready=True)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    await sshd.run_until_stopped(life_sign)


def main() -> None:
    """Detach from the parent process, then serve."""
    order = Order.from_json(sys.stdin.readline())
    # The starter reaps the parent at once, and init adopts this process. So a shell outlives the gateway
    # worker that started it, and never becomes its zombie.
    if os.fork():
        os._exit(0)
    _send(pid=os.getpid())
    os.umask(0o022)
    try:
        asyncio.run(_serve(order))
    except (OSError, ValueError) as error:
        # The starter shows this line to the waiting developer.
        raise SystemExit(str(error)) from None


main()
