"""`script/demo --kubernetes`: apps on the test cluster, Stagedoor by helm beside them, and how to log in."""

import json
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acceptance import kubernetes_apps as apps
from acceptance.doors import Desk
from acceptance.kubernetes_tools import (
    BUILD_S,
    MINUTE_S,
    ONE_PYTHON,
    Checkout,
    checkout,
    gateway_image,
    kit_image,
    say,
)
from stagedoor.demo.client_files import (
    APPS,
    DEVELOPER,
    USER,
    ClientFiles,
    DemoUser,
    write_configs,
)
from stagedoor.demo.clients import Login, private_file
from stagedoor.demo.stage import stagedoor_command
from stagedoor.model.errors import StagedoorError

RELEASE = "stagedoor"
INSTALL_S = 3 * MINUTE_S
REMOVE_S = 2 * MINUTE_S
_SETTINGS = Path("/etc/stagedoor/stagedoor.toml")
_POLICIES = "validatingadmissionpolicies,validatingadmissionpolicybindings"


@dataclass(frozen=True)
class House(ClientFiles):
    """The way into a release on the test cluster: itself in the namespace `own`, its apps in `place`."""

    checkout: Checkout
    own: str
    place: str

    @property
    def desk(self) -> Desk:
        """`stagedoor` commands inside the gateway's pod."""
        return Desk(
            (str(self.checkout.root / "script/cluster"), *_in_gateway(self.own), "stagedoor"),
            _SETTINGS,
        )

    @contextmanager
    def web(self) -> Iterator[str]:
        """Where the WebShell is answered on this machine, which browsers trust as they do TLS."""
        words = (
            "kubectl",
            "--namespace",
            self.own,
            "port-forward",
            f"service/{RELEASE}-web",
            ":80",
        )
        with subprocess.Popen(
            [self.checkout.root / "script/cluster", *words], stdout=subprocess.PIPE, text=True
        ) as forward:
            try:
                assert forward.stdout is not None, "it was asked for"
                said = forward.stdout.readline()  # Forwarding from 127.0.0.1:41234 -> 8088
                address = said.partition(" from ")[2].partition(" ->")[0]
                if not address:
                    raise StagedoorError("kubectl port-forward to the WebShell did not come about")
                yield f"http://{address}"
            finally:
                forward.terminate()

    def in_apps(self, *arguments: str) -> str:
        """kubectl in the apps' namespace."""
        return self.checkout.kubectl("--namespace", self.place, *arguments)


@contextmanager
def housed(*others: DemoUser) -> Iterator[House]:
    """The whole story, until the block is left; then what was made is removed.

    A cluster that runs already stays; one that does not is started here, and taken down. `others`
    are let in besides the developer. SIGTERM is as SIGINT: KeyboardInterrupt. Raises StagedoorError
    for whatever does not work.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    found = checkout()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="stagedoor-demo-")).resolve()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        ours = not found.runs()
        if ours:
            found.run("script/cluster", "check")
            say("starting the cluster (the first time its programs are built, which takes minutes)")
            stack.callback(_in_peace, lambda: _take_down(found))
            found.run("script/cluster", "up", within_s=BUILD_S, loud=True)
        image, kit = gateway_image(found), kit_image(found)
        word = secrets.token_hex(2)
        own, place = f"stagedoor-demo-{word}", f"apps-{word}"
        if not ours:  # otherwise all goes with the cluster
            stack.callback(_in_peace, lambda: _remove(found, own, place))
        _deploy_apps(found, own, place)
        say(f"helm install {RELEASE} deploy/chart --namespace {own}")
        _install(found, own, _values(found, place, image, kit))
        yield _let_in(found, folder, own, place, (DEVELOPER, *others))


def _in_peace(remove: Callable[[], None]) -> None:
    """Remove what was made; an impatient user does not keep us from it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    say("removing what was made")
    remove()


def _take_down(found: Checkout) -> None:
    found.run("script/cluster", "down", within_s=REMOVE_S)


def _remove(found: Checkout, own: str, place: str) -> None:
    """The release, and both namespaces with all that is in them, whatever else goes wrong."""
    # Without its hook, which stops the shells and waits for who is inside: here their namespace goes.
    uninstall = (
        "helm",
        "uninstall",
        RELEASE,
        "--namespace",
        own,
        "--ignore-not-found",
        "--no-hooks",
    )
    gone = ("delete", "pods", "--all", "--grace-period=1", "--wait=false")
    wait = ("wait", "--for=delete", f"--timeout={REMOVE_S:.0f}s")
    steps: list[Callable[[], object]] = [
        lambda: found.run("script/cluster", *uninstall),
        lambda: _remove_anchor(found, own),
        lambda: found.kubectl(
            "delete", "namespace", "--wait=false", "--ignore-not-found", own, place
        ),
        # Nobody is to be waited for: a shell would live out its grace.
        lambda: found.kubectl("--namespace", own, *gone),
        lambda: found.kubectl("--namespace", place, *gone),
        lambda: found.kubectl(
            *wait, f"namespace/{own}", f"namespace/{place}", within_s=REMOVE_S + 10
        ),
    ]
    problems = []
    for step in steps:
        try:
            step()
        except StagedoorError as error:
            problems.append(str(error))
    if problems:
        raise StagedoorError(
            f"the namespaces {own} and {place} may still be there (script/cluster kubectl delete "
            f"namespace {own} {place}): {problems[0]}"
        )


def _remove_anchor(found: Checkout, own: str) -> None:
    """The policy that an uninstall leaves, unless it is the last of its kind.

    The API server must not be without any (https://github.com/kubernetes/kubernetes/issues/130887).
    """
    ours = f"anchor.stagedoor.{own}"
    names = found.kubectl("get", "validatingadmissionpolicies", "-o", "name").split()
    anchors = [name.rpartition("/")[2] for name in names if "/anchor." in name]
    if any(name != ours for name in anchors):
        found.kubectl("delete", _POLICIES, "--ignore-not-found", ours)
    elif ours in anchors:
        say(f"the policy {ours}, which refuses nothing, stays: the API server needs one")


def _deploy_apps(found: Checkout, own: str, place: str) -> None:
    say(f"deploying {' and '.join(APPS)} into the namespace {place}")
    image = found.run("script/cluster", "image", apps.IMAGE, within_s=BUILD_S).split()[-1]
    objects = [apps.namespace(own), apps.namespace(place)]
    for name in APPS:
        objects += apps.app(place, name, image)
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    found.kubectl("apply", "--server-side", "-f", "-", text=text)


def _values(found: Checkout, place: str, image: str, kit: str) -> dict[str, Any]:
    """A trial: one pod that is gateway and controller, its store a file that goes with it."""
    (repository, _, tag), (kit_repository, _, kit_tag) = (
        name.rpartition(":") for name in (image, kit)
    )
    return {
        "image": {"repository": repository, "tag": tag},
        "kit": {"repository": kit_repository, "tag": kit_tag},
        "apps": {"namespaces": [{"name": place}]},
        "store": {"sqlite": {"enabled": True, "persistence": {"enabled": False}}},
        "gateway": {
            "replicas": 1,
            "drainSeconds": 1,
            "preStopSeconds": 0,
            "ssh": {"hostNames": [_node(found)]},
            "web": {"enabled": True},
            # What `kubectl port-forward` brings comes from the pod itself.
            "networks": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8"],
            "service": {"type": "NodePort"},
        },
    }


def _node(found: Checkout) -> str:
    """The address of the only node, where NodePorts are."""
    path = '{.items[0].status.addresses[?(@.type=="InternalIP")].address}'
    return found.kubectl("get", "nodes", "-o", f"jsonpath={path}")


def _install(found: Checkout, own: str, values: Mapping[str, Any]) -> None:
    words = ("--namespace", own, "--wait", "--timeout", f"{INSTALL_S:.0f}s", "--values", "-")
    try:
        found.run(
            *("script/cluster", "helm", "install", RELEASE, found.root / "deploy/chart", *words),
            text=json.dumps(values),
            within_s=INSTALL_S + 30,
        )
    except StagedoorError as error:
        told = []
        asked = (
            "get events --field-selector=type=Warning",
            f"logs deploy/{RELEASE}-gateway --all-containers --tail=5",
        )
        for question in asked:
            with suppress(StagedoorError):
                told.append(found.kubectl("--namespace", own, *question.split()).rstrip())
        raise StagedoorError("\n".join([str(error), *told])) from None


def _in_gateway(own: str) -> tuple[str, ...]:
    """What `script/cluster` is asked for to run something in the gateway's pod."""
    where = ("--namespace", own, "exec", "-i", f"deploy/{RELEASE}-gateway", "-c", "gateway", "--")
    return ("kubectl", *where)


def _let_in(
    found: Checkout, folder: Path, own: str, place: str, people: tuple[DemoUser, ...]
) -> House:
    """Everybody's user, password, token and grants; the developer's key; ssh's files."""
    say("letting the developer in: a user, a key, a token, grants")
    key = folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    passwords = {person.name: secrets.token_urlsafe(12) for person in people}
    commands: list[tuple[list[str], str]] = []
    for person in people:
        # No command line has the password in it.
        added = ["user", "add", person.name, "--password-stdin"]
        commands += [(added, passwords[person.name] + "\n")]
        commands += [(["grant", "add", f"user:{person.name}", app], "") for app in person.apps]
    commands += [(["key", "add", USER, "-"], key.with_suffix(".pub").read_text(encoding="utf-8"))]
    commands += [(["token", "create", person.name, "--json"], "") for person in people]
    commands += [(["ca", "show", "host"], "")]
    told = found.run("script/cluster", *_in_gateway(own), *ONE_PYTHON, text=json.dumps(commands))
    *tokens, ca = json.loads(told)[-len(people) - 1 :]
    service = json.loads(found.kubectl("--namespace", own, "get", "service", RELEASE, "-o", "json"))
    ports = {port["name"]: port["nodePort"] for port in service["spec"]["ports"]}
    host = _node(found)
    logins = {}
    for person, text in zip(people, tokens, strict=True):
        home = folder / person.name
        home.mkdir()
        file = private_file(home / "token", json.loads(text)["token"] + "\n")
        client = (*stagedoor_command(), "tunnel")
        password = passwords[person.name]
        logins[person.name] = Login(
            host, ports["tunnel"], person.name, password, file, home, client
        )
    public_ca = " ".join(ca.split()[:2])
    configs = write_configs(folder, logins[USER], public_ca, f"{host}:{ports['ssh']}")
    return House(
        folder=folder,
        logins=logins,
        configs=configs,
        near=False,
        checkout=found,
        own=own,
        place=place,
    )
