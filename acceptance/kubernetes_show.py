"""`script/demo --kubernetes`: prints commands to try, then each login and its end, until Ctrl-C."""

import json
import shlex
import subprocess
import time
from contextlib import suppress

from acceptance.kubernetes import Installation, installed
from acceptance.kubernetes_tools import say
from acceptance.reach import Reach
from stagedoor.client import sshconfig
from stagedoor.demo.clients import APPS
from stagedoor.demo.show import describe, mark_time
from stagedoor.demo.suggestions import mark_bold
from stagedoor.model.errors import StagedoorError
from stagedoor.model.event import Event, EventKind


def show() -> None:
    """Run the demo until SIGINT or SIGTERM. Raises StagedoorError for any step that fails."""
    with suppress(KeyboardInterrupt), installed() as installation:
        say(f"ssh {APPS[0]}.ssh, whose shell does not run yet")
        print(first_login(installation), flush=True)
        print(what_to_try(installation), flush=True)
        _watch(installation)
    print("Stopped; what was made is removed.", flush=True)


def first_login(installation: Installation) -> str:
    """Log in once; return the output and the time it took. Raises StagedoorError if that fails."""
    began = time.monotonic()
    reach = Reach(installation.configs.through, f"{APPS[0]}.ssh", near=False)
    done = reach.ssh('echo "uid $(id -u) in $HOSTNAME says $GREETING"')
    if done.code:
        raise StagedoorError(f"ssh {reach.host} ended with {done.code}: {done.said}")
    return f"{done.stdout.decode().rstrip()}  ({time.monotonic() - began:.1f} s)"


def what_to_try(installation: Installation) -> str:
    """Return the text with the commands to try, each on one line to copy."""
    config, jump = (
        shlex.quote(str(path)) for path in (installation.configs.through, installation.configs.jump)
    )
    script = shlex.quote(str(installation.checkout.root / "script/cluster"))
    desk = " ".join(shlex.quote(word) for word in installation.desk.stagedoor)
    apps, own = installation.apps_namespace, installation.own
    return f"""
{mark_bold("Stagedoor")} is open at {mark_bold(installation.gateway)}, with the apps {" and ".join(APPS)}.
In another terminal, try:

  ssh -F {config} {APPS[0]}.ssh
  scp -F {config} /etc/hostname {APPS[1]}.ssh:/tmp/

or over the gateway's own SSH ({sshconfig.JUMP_HOST} in the file), by a jump or directly:

  ssh -F {jump} {APPS[0]}.ssh
  ssh -F {jump} {APPS[0]}@{sshconfig.JUMP_HOST}

A run, a task beside the app, whose end and log outlive the connection:

  ssh -F {jump} {sshconfig.JUMP_HOST} "run --detach {APPS[0]} -- 'sleep 5; env | grep APP'"
  ssh -F {jump} {sshconfig.JUMP_HOST} run list

What the cluster sees of it: the apps, their shells, and the gateway:

  {script} kubectl -n {apps} get deployments,pods,services,ingresses
  {script} kubectl -n {apps} get leases,jobs
  {script} kubectl -n {own} get all

The administrator's desk:

  {desk} app list
  {desk} session list
  {desk} grant list

Each login is shown below. Ctrl-C ends it, and removes what it made.
"""


def _watch(installation: Installation) -> None:
    """Print the gateway's audit as it grows. Raises StagedoorError when it ends."""
    desk = installation.desk
    words = ("--config", str(desk.settings_file), "audit", "--follow", "--lines", "10", "--json")
    # A session of its own, so that Ctrl-C reaches only this process, which then ends that one.
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
                if news := describe(event_of(line)):
                    print(mark_time(news), flush=True)
        finally:
            process.kill()
    raise StagedoorError("the gateway's pod tells nothing any more; it may have been deleted")


def event_of(line: str) -> Event:
    """Return the event in a line of `stagedoor audit --json`, without its time."""
    document = json.loads(line)
    kept = ("session", "identity", "target", "source", "reason", "instance", "fields")
    return Event(
        at=0.0,
        kind=EventKind(document["kind"]),
        access_method=document["way"],
        **{name: document[name] for name in kept},
    )
