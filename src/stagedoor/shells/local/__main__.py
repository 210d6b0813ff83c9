"""`python -m stagedoor.shells.local APP`: the process of one local shell. Started by `start` only.

It reads its order from standard input, so that neither argv nor the environment shows it.
"""

import asyncio
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from stagedoor.shells.local.process import Account
from stagedoor.shells.local.settings import Order
from stagedoor.shells.local.shell_folder import Running, ShellFolder


def _tell(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


async def _serve(order: Order) -> None:
    _tell(step="loading")
    from stagedoor.shells.local.sshd import Sshd, new_host_key

    place = ShellFolder(Path(order.folder))
    key = new_host_key()
    _tell(step="signing the host key")
    _tell(sign=key.export_public_key().decode().strip())
    certificate = json.loads(sys.stdin.readline())["certificate"]
    if order.shell.directory is not None:
        _tell(step="entering the directory", detail=order.shell.directory)
        os.chdir(order.shell.directory)
    else:
        with suppress(OSError):
            # Not $HOME, which may be another's: under `runuser -u` it is root's.
            os.chdir(Account.ours().home)
    _tell(step="listening")
    sshd = Sshd(order, place)
    port = await sshd.listen(key, certificate)
    life_sign = place.publish(Running(os.getpid(), sshd.host, port, order.digest(), time.time()))
    _tell(ready=True)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    await sshd.run_until_stopped(life_sign)


def main() -> None:
    """Detach from the parent process, then serve."""
    order = Order.from_json(sys.stdin.readline())
    # The starter reaps the parent at once, and we are nobody's child: a shell outlives the
    # gateway worker that asked for it, and leaves no zombie to it.
    if os.fork():
        os._exit(0)
    _tell(pid=os.getpid())
    os.umask(0o022)
    try:
        asyncio.run(_serve(order))
    except (OSError, ValueError) as error:
        # One line: the starter shows it to the person who waits.
        raise SystemExit(str(error)) from None


main()
