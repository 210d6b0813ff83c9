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
    find_checkout,
    gateway_image,
    kit_image,
    say,
)
from stagedoor.demo.clients import (
    APPS,
    DEVELOPER,
    USER,
    ClientFiles,
    DemoLogin,
    DemoUser,
    write_configs,
    write_private_file,
)
from stagedoor.demo.gateway import find_command
from stagedoor.model.errors import StagedoorError

RELEASE = "stagedoor"
INSTALL_S = 3 * MINUTE_S
REMOVE_S = 2 * MINUTE_S
_SETTINGS = Path("/etc/stagedoor/stagedoor.toml")
_POLICIES = "validatingadmissionpolicies,validatingadmissionpolicybindings"


@dataclass(frozen=True)
class Installation(ClientFiles):
    """A release on the test cluster in the namespace `own`, with its apps in `apps_namespace`."""

    checkout: Checkout
    own: str
    apps_namespace: str

    @property
    def desk(self) -> Desk:
        """A runner of `stagedoor` commands inside the gateway's pod."""
        return Desk(
            (str(self.checkout.root / "script/cluster"), *_in_gateway(self.own), "stagedoor"),
            _SETTINGS,
        )

    @contextmanager
    def web(self) -> Iterator[str]:
        """Forward a port to the WebShell; yield its URL on loopback, which browsers trust like TLS."""
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
                assert forward.stdout is not None, "it is a pipe"
                said = forward.stdout.readline()  # Forwarding from 127.0.0.1:41234 -> 8088
                address = said.partition(" from ")[2].partition(" ->")[0]
                if not address:
                    raise StagedoorError("kubectl port-forward to the WebShell did not come about")
                yield f"http://{address}"
            finally:
                forward.terminate()

    def in_apps(self, *arguments: str) -> str:
        """Run kubectl in the apps' namespace and return its stdout. Raises StagedoorError."""
        return self.checkout.kubectl("--namespace", self.apps_namespace, *arguments)


@contextmanager
def installed(*others: DemoUser) -> Iterator[Installation]:
    """Install apps and Stagedoor on the test cluster, and remove them when the block ends.

    A cluster that runs already stays; otherwise one is started here, and taken down. `others` become users
    besides the developer. SIGTERM raises KeyboardInterrupt, as SIGINT does. Raises StagedoorError for any
    step that fails.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    checkout = find_checkout()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="stagedoor-demo-")).resolve()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        is_ours = not checkout.runs()
        if is_ours:
            checkout.run("script/cluster", "check")
            say("starting the cluster (the first time its programs are built, which takes minutes)")
            stack.callback(_uninterrupted, lambda: _take_down(checkout))
            checkout.run("script/cluster", "up", within_s=BUILD_S, loud=True)
        image, kit = gateway_image(checkout), kit_image(checkout)
        word = secrets.token_hex(2)
        own, apps_namespace = f"stagedoor-demo-{word}", f"apps-{word}"
        if not is_ours:  # otherwise the cluster is removed as a whole
            stack.callback(_uninterrupted, lambda: _remove(checkout, own, apps_namespace))
        _deploy_apps(checkout, own, apps_namespace)
        say(f"helm install {RELEASE} deploy/chart --namespace {own}")
        _install(checkout, own, _values(checkout, apps_namespace, image, kit))
        yield _add_people(checkout, folder, own, apps_namespace, (DEVELOPER, *others))


def _uninterrupted(remove: Callable[[], None]) -> None:
    """Run `remove` with SIGINT and SIGTERM ignored, so that an impatient user cannot interrupt it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    say("removing what was made")
    remove()


def _take_down(checkout: Checkout) -> None:
    checkout.run("script/cluster", "down", within_s=REMOVE_S)


def _remove(checkout: Checkout, own: str, apps_namespace: str) -> None:
    """Remove the release and both namespaces; continue after errors. Raises StagedoorError at the end."""
    # Without the chart's hook, which stops shells and waits for sessions: their namespace is deleted here.
    uninstall = (
        "helm",
        "uninstall",
        RELEASE,
        "--namespace",
        own,
        "--ignore-not-found",
        "--no-hooks",
    )
    delete = ("delete", "pods", "--all", "--grace-period=1", "--wait=false")
    wait = ("wait", "--for=delete", f"--timeout={REMOVE_S:.0f}s")
    steps: list[Callable[[], object]] = [
        lambda: checkout.run("script/cluster", *uninstall),
        lambda: _remove_anchor(checkout, own),
        lambda: checkout.kubectl(
            "delete", "namespace", "--wait=false", "--ignore-not-found", own, apps_namespace
        ),
        # Do not wait for sessions: a shell would use its whole grace period.
        lambda: checkout.kubectl("--namespace", own, *delete),
        lambda: checkout.kubectl("--namespace", apps_namespace, *delete),
        lambda: checkout.kubectl(
            *wait, f"namespace/{own}", f"namespace/{apps_namespace}", within_s=REMOVE_S + 10
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
            f"the namespaces {own} and {apps_namespace} may still be there (script/cluster kubectl delete "
            f"namespace {own} {apps_namespace}): {problems[0]}"
        )


def _remove_anchor(checkout: Checkout, own: str) -> None:
    """Remove the policy that an uninstall leaves, unless it is the last of its kind.

    The API server needs at least one (https://github.com/kubernetes/kubernetes/issues/130887).
    """
    ours = f"anchor.stagedoor.{own}"
    names = checkout.kubectl("get", "validatingadmissionpolicies", "-o", "name").split()
    anchors = [name.rpartition("/")[2] for name in names if "/anchor." in name]
    if any(name != ours for name in anchors):
        checkout.kubectl("delete", _POLICIES, "--ignore-not-found", ours)
    elif ours in anchors:
        say(f"the policy {ours}, which refuses nothing, stays: the API server needs one")


def _deploy_apps(checkout: Checkout, own: str, apps_namespace: str) -> None:
    say(f"deploying {' and '.join(APPS)} into the namespace {apps_namespace}")
    image = checkout.run("script/cluster", "image", apps.IMAGE, within_s=BUILD_S).split()[-1]
    objects = [apps.namespace(own), apps.namespace(apps_namespace)]
    for name in APPS:
        objects += apps.app(apps_namespace, name, image)
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    checkout.kubectl("apply", "--server-side", "-f", "-", text=text)


def _values(checkout: Checkout, apps_namespace: str, image: str, kit: str) -> dict[str, Any]:
    """Return the chart's values for a trial: one pod as gateway and controller, with a temporary store."""
    (repository, _, tag), (kit_repository, _, kit_tag) = (
        name.rpartition(":") for name in (image, kit)
    )
    return {
        "image": {"repository": repository, "tag": tag},
        "kit": {"repository": kit_repository, "tag": kit_tag},
        "apps": {"namespaces": [{"name": apps_namespace}]},
        "store": {"sqlite": {"enabled": True, "persistence": {"enabled": False}}},
        "gateway": {
            "replicas": 1,
            "drainSeconds": 1,
            "preStopSeconds": 0,
            "ssh": {"hostNames": [_node(checkout)]},
            "web": {"enabled": True},
            # Connections by `kubectl port-forward` come from the pod itself.
            "networks": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8"],
            "service": {"type": "NodePort"},
        },
    }


def _node(checkout: Checkout) -> str:
    """Return the address of the only node, where NodePorts are."""
    path = '{.items[0].status.addresses[?(@.type=="InternalIP")].address}'
    return checkout.kubectl("get", "nodes", "-o", f"jsonpath={path}")


def _install(checkout: Checkout, own: str, values: Mapping[str, Any]) -> None:
    words = ("--namespace", own, "--wait", "--timeout", f"{INSTALL_S:.0f}s", "--values", "-")
    try:
        checkout.run(
            *("script/cluster", "helm", "install", RELEASE, checkout.root / "deploy/chart", *words),
            text=json.dumps(values),
            within_s=INSTALL_S + 30,
        )
    except StagedoorError as error:
        details = []
        questions = (
            "get events --field-selector=type=Warning",
            f"logs deploy/{RELEASE}-gateway --all-containers --tail=5",
        )
        for question in questions:
            with suppress(StagedoorError):
                details.append(checkout.kubectl("--namespace", own, *question.split()).rstrip())
        raise StagedoorError("\n".join([str(error), *details])) from None


def _in_gateway(own: str) -> tuple[str, ...]:
    """Return the arguments of `script/cluster` that run a command in the gateway's pod."""
    where = ("--namespace", own, "exec", "-i", f"deploy/{RELEASE}-gateway", "-c", "gateway", "--")
    return ("kubectl", *where)


def _add_people(
    checkout: Checkout, folder: Path, own: str, apps_namespace: str, people: tuple[DemoUser, ...]
) -> Installation:
    """Add a user, password, token and grants for each person, and the developer's key; write ssh's files."""
    say("letting the developer in: a user, a key, a token, grants")
    key = folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    passwords = {person.name: secrets.token_urlsafe(12) for person in people}
    commands: list[tuple[list[str], str]] = []
    for person in people:
        # No command line has the password in it.
        add_user = ["user", "add", person.name, "--password-stdin"]
        commands += [(add_user, passwords[person.name] + "\n")]
        runs = ["--allow", "run"] if person is DEVELOPER else []
        commands += [
            (["grant", "add", f"user:{person.name}", app, *runs], "") for app in person.apps
        ]
    commands += [(["key", "add", USER, "-"], key.with_suffix(".pub").read_text(encoding="utf-8"))]
    commands += [(["token", "create", person.name, "--json"], "") for person in people]
    commands += [(["ca", "show", "host"], "")]
    out = checkout.run("script/cluster", *_in_gateway(own), *ONE_PYTHON, text=json.dumps(commands))
    *tokens, ca = json.loads(out)[-len(people) - 1 :]
    service = json.loads(
        checkout.kubectl("--namespace", own, "get", "service", RELEASE, "-o", "json")
    )
    ports = {port["name"]: port["nodePort"] for port in service["spec"]["ports"]}
    host = _node(checkout)
    logins = {}
    for person, text in zip(people, tokens, strict=True):
        home = folder / person.name
        home.mkdir()
        file = write_private_file(home / "token", json.loads(text)["token"] + "\n")
        client = (*find_command(), "tunnel")
        password = passwords[person.name]
        logins[person.name] = DemoLogin(
            host, ports["tunnel"], person.name, password, file, home, client
        )
    public_ca = " ".join(ca.split()[:2])
    configs = write_configs(folder, logins[USER], public_ca, f"{host}:{ports['ssh']}")
    return Installation(
        folder=folder,
        logins=logins,
        configs=configs,
        near=False,
        checkout=checkout,
        own=own,
        apps_namespace=apps_namespace,
    )
