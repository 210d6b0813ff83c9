"""Checks that ssh survives a network that is away, and an upgrade of the gateway, with the real ssh."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path

from acceptance.doors import Desk
from acceptance.reach import Reach
from acceptance.verdict import FailedError, expect
from stagedoor.demo.network import DemoNetwork

AWAY_S = 5.0
_GATEWAY = re.compile(r"--gateway '?127\.0\.0\.1:(\d+)")


def cut_network(reach: Reach, folder: Path) -> str:
    """Type before, during and after a cut, over a network of its own. Raises FailedError.

    Return what happened, in one line. `reach` leads to a gateway on this machine by `stagedoor tunnel`.
    """
    text = reach.config.read_text()
    gateway = _GATEWAY.search(text)
    assert gateway is not None, "the command names the gateway"
    network = DemoNetwork(int(gateway[1]))
    try:
        config = folder / "through_the_network"
        own = gateway[0].replace(gateway[1], str(network.port))
        config.write_text(text.replace(gateway[0], own))
        own_reach = replace(reach, config=config)
        argv = own_reach.argv("ssh", "-tt", reach.host, "echo in''side; cat")
        with own_reach.start(argv, on_terminal=True) as ssh:
            ssh.expect("inside")
            network.cut()
            ssh.type("typed while it was away\r")
            time.sleep(AWAY_S)  # the length of the cut
            network.restore()
            began = time.monotonic()
            ssh.expect("typed while it was away")
            back_s = time.monotonic() - began
            expect(not ssh.ended, "ssh has ended")
    except TimeoutError as error:
        raise FailedError(str(error)) from None
    finally:
        network.close_network()
    return f"back {back_s:.1f} s after the network"


def upgrade_gateway(reach: Reach, desk: Desk) -> str:
    """Type before and after an upgrade of the gateway, and log in to the new one. Raises FailedError.

    Return what happened, in one line. `reach` leads to the gateway of `desk`, by any client.
    """
    argv = reach.argv("ssh", "-tt", reach.host, "echo in''side; cat")
    try:
        with reach.start(argv, on_terminal=True) as ssh:
            ssh.expect("inside")
            upgrade = json.loads(desk.command("upgrade", "--json"))
            ssh.type("typed after it\r")
            ssh.expect("typed after it")
            expect(upgrade["sessions"] >= 1, "no session is in the old process")
            login = reach.ssh("echo new")
            expect(login.stdout == b"new\n", f"no login after it: {login.said}")
            expect(not ssh.ended, "ssh has ended")
    except TimeoutError as error:
        raise FailedError(str(error)) from None
    return f"a new process after {upgrade['took_s']:.1f} s"
