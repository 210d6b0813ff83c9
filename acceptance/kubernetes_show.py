"""`script/demo --kubernetes`: print what to try, then each login and its end, until Ctrl-C."""

import json
import shlex
import subprocess
import time
from contextlib import suppress

from acceptance.kubernetes import House, housed
from acceptance.kubernetes_tools import say
from acceptance.reach import Reach
from stagedoor.client import sshconfig
from stagedoor.demo import live
from stagedoor.demo.client_files import APPS
from stagedoor.demo.show import bold, told_now
from stagedoor.model.errors import StagedoorError
from stagedoor.model.event import Event, Kind


def show() -> None:
    """Run until SIGINT or SIGTERM. Raises StagedoorError when something of it does not work."""
    with suppress(KeyboardInterrupt), housed() as house:
        say(f"ssh {APPS[0]}.ssh, whose shell does not run yet")
        print(first_login(house), flush=True)
        print(what_to_try(house), flush=True)
        _watch(house)
    print("Stopped; what was made is removed.", flush=True)


def first_login(house: House) -> str:
    """One login, and how long it took. Raises StagedoorError where it fails."""
    began = time.monotonic()
    reach = Reach(house.configs.through, f"{APPS[0]}.ssh", near=False)
    done = reach.ssh('echo "uid $(id -u) in $HOSTNAME says $GREETING"')
    if done.code:
        raise StagedoorError(f"ssh {reach.host} ended with {done.code}: {done.said}")
    return f"{done.stdout.decode().rstrip()}  ({time.monotonic() - began:.1f} s)"


def what_to_try(house: House) -> str:
    """The commands to print, each one line to copy."""
    config, jump = (shlex.quote(str(path)) for path in (house.configs.through, house.configs.jump))
    script = shlex.quote(str(house.checkout.root / "script/cluster"))
    desk = " ".join(shlex.quote(word) for word in house.desk.stagedoor)
    place, own = house.place, house.own
    return f"""
{bold("Stagedoor")} is open at {bold(house.gateway)}, with the apps {" and ".join(APPS)}.
In another terminal, try:

  ssh -F {config} {APPS[0]}.ssh
  scp -F {config} /etc/hostname {APPS[1]}.ssh:/tmp/

or over the gateway's own SSH ({sshconfig.JUMP_HOST} in the file), by a jump or directly:

  ssh -F {jump} {APPS[0]}.ssh
  ssh -F {jump} {APPS[0]}@{sshconfig.JUMP_HOST}

What the cluster sees of it: the apps, their shells, and the gateway:

  {script} kubectl -n {place} get deployments,pods,services,ingresses
  {script} kubectl -n {place} get leases
  {script} kubectl -n {own} get all

The administrator's desk:

  {desk} app list
  {desk} session list
  {desk} grant list

Each login is shown below. Ctrl-C ends it, and removes what it made.
"""


def _watch(house: House) -> None:
    """Print what the gateway's audit tells, as it does, for as long as it tells."""
    desk = house.desk
    words = ("--config", str(desk.settings_file), "audit", "--follow", "--lines", "10", "--json")
    # Ctrl-C is for us, who end this first.
    with subprocess.Popen(
        [*desk.stagedoor, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if told := live.news(event_of(line)):
                    print(told_now(told), flush=True)
        finally:
            process.kill()
    raise StagedoorError("the gateway's pod tells nothing any more; it may have been deleted")


def event_of(line: str) -> Event:
    """An event as `stagedoor audit --json` prints it; its time is left out."""
    found = json.loads(line)
    kept = ("session", "identity", "target", "source", "way", "reason", "instance", "fields")
    return Event(at=0.0, kind=Kind(found["kind"]), **{name: found[name] for name in kept})
