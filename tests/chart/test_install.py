"""The chart on a real cluster by the real helm: two replicas on PostgreSQL, shells, an upgrade under load."""

import json
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.chart.chart import merged
from tests.chart.release import (
    RESTRICTED,
    Release,
    anchor,
    database,
    forget,
    of_checkout,
    of_trial,
    open_to_pods,
    until,
)
from tests.chart.sessions import Lines, kill_pod, sessions_of
from tests.chart.test_manifests import kustomized
from tests.cluster.asking import Manifest
from tests.fixtures.cluster import Cluster
from tests.fixtures.laptop import new_key
from tests.listeners.wire import bearer, head
from tests.ports import free_port
from tests.store.server import server_here
from tests.upgrade.sessions import Session

PRE_STOP_S = 10
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def release(
    cluster: Cluster, kit: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Release]:
    """Installed, with a developer and an app; in a namespace that enforces `restricted`."""
    anchor(cluster)
    own, apps = (f"test-{kind}-{uuid.uuid4().hex[:8]}" for kind in ("own", "apps"))
    with server_here(port=free_port()) as postgresql:
        open_to_pods(postgresql, cluster.host_address)
        url, password = database(postgresql, cluster)
        values: Manifest = {
            "apps": {"namespaces": [{"name": apps}]},
            "store": {"postgresql": {"url": url, "passwordSecret": "db"}},
            "gateway": {
                "drainSeconds": 60,
                # The node's rules for the Service hear late of a pod that goes, on a busy machine.
                "preStopSeconds": PRE_STOP_S,
            },
        }
        values = merged(of_checkout(cluster, kit), values)
        new_release = Release(cluster, own, apps, tmp_path_factory.mktemp("release"), values)
        for name in (own, apps):
            cluster.administrator.make_namespace(name, RESTRICTED)
        try:
            new_release.kubectl(
                "create", "secret", "generic", "db", f"--from-literal=password={password}"
            )
            new_release.install()
            new_release.welcome()
            new_release.postgresql = postgresql
            yield new_release
        finally:
            new_release.uninstall()
            cluster.administrator.forget("Namespace", own, apps)


def restricted_app(release: Release, name: str = "app01", **how: object) -> None:
    context = {
        "runAsNonRoot": True,
        "runAsUser": 12345,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    release.app(name, securityContext=context, **how)


def secrets(release: Release) -> dict[str, object]:
    document = json.loads(release.kubectl("get", "secrets", "-o", "json"))["items"]
    return {
        secret["metadata"]["name"]: secret["data"]
        for secret in document
        if secret["type"] == "Opaque"
    }


def opened_sessions(release: Release) -> dict[str, Manifest]:
    """By the session's name, for other tests enter as well."""
    events = [json.loads(line) for line in release.stagedoor("audit", "--json").splitlines()]
    return {event["session"]: event for event in events if event["kind"] == "session.opened"}


def test_a_developer_enters_an_app_s_shell_through_the_installed_gateway(release: Release) -> None:
    assert len(release.pods("gateway")) == 2
    assert len(release.pods("controller")) == 2
    restricted_app(release, env={"WORD": "it's “hard”"})
    before = opened_sessions(release).keys()
    done = release.ssh("app01.ssh", "echo $WORD; id -u")
    assert done.returncode == 0, done.stderr + release.story()
    assert done.stdout == "it's “hard”\n12345\n"
    [opened] = [session for name, session in opened_sessions(release).items() if name not in before]
    assert opened["identity"] == "dev"
    # By externalTrafficPolicy: Local, the chart's default: not the node's address.
    assert opened["source"].startswith(release.cluster.host_address)
    [shell] = json.loads(
        release.cluster.kubectl(
            *("-n", release.apps, "get", "pods", "-o", "json"),
            *("-l", "stagedoor.dev/shell-of=app01"),
        )
    )["items"]
    assert shell["spec"]["serviceAccountName"] == "default"
    assert shell["spec"]["automountServiceAccountToken"] is False


@pytest.mark.platform(1, 10)
def test_a_run_starts_by_the_agreement_of_two_accounts_and_each_gateway_shows_it(
    release: Release,
) -> None:
    restricted_app(release, env={"WORD": "hard"})
    done = release.ssh("gw", "run app01 -- echo $WORD; id -u; cat /proc/1/fd/1; exit 7")
    assert done.returncode == 7, done.stderr + release.story()
    assert done.stdout == "hard\n12345\n"
    run_id = done.stderr.partition("run ")[2].split()[0]
    for _ in range(6):  # the Service chooses one of two gateways
        shown = release.ssh("gw", f"run attach {run_id}")
        assert (shown.returncode, shown.stdout) == (7, done.stdout), shown.stderr


def test_the_commands_of_the_how_to_work_where_it_runs_them(release: Release) -> None:
    """In a gateway's pod, whose account may read little; an app with a claim is the most that they read."""
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    mount = {"name": "data", "mountPath": "/data"}
    web = {"name": "web", "volumeMounts": [mount]}
    patch = {"spec": {"template": {"spec": {"volumes": [volume], "containers": [web]}}}}
    restricted_app(release)
    restricted_app(release, "explained")
    release.cluster.kubectl(
        *("-n", release.apps, "patch", "deployment", "explained", "-p", json.dumps(patch))
    )
    assert "the shell of Deployment explained" in release.stagedoor("app", "explain", "explained")
    assert "explained.ssh" in release.stagedoor("app", "list")
    assert "leads, serves 1 of 1 namespace" in release.stagedoor("status")
    doctor = "stagedoor doctor || [ $? = 1 ]"  # 1 are warnings, as of a slow machine's
    where = ("exec", "deploy/stagedoor-gateway", "-c", "gateway", "--", "sh", "-c")
    assert "data folder" in release.kubectl(*where, doctor)
    release.stagedoor("app", "start", "app01")
    assert "stagedoor: idle" in release.stagedoor("app", "logs", "app01")
    release.stagedoor("app", "stop", "app01", "--yes")


def test_the_gateway_s_pods_hold_no_private_key_of_the_host_ca(release: Release) -> None:
    where = ("exec", "deploy/stagedoor-gateway", "-c", "gateway", "--", "sh", "-c")
    output = release.kubectl(*where, "ls /etc/stagedoor /run/stagedoor; id -u; touch /x || true")
    assert "host_ca.pub" in output
    assert "host-ca" not in output
    assert output.split()[-1] == "65532"
    where = ("exec", "deploy/stagedoor-controller", "-c", "controller", "--", "sh", "-c")
    output = release.kubectl(*where, "ls /etc/stagedoor /run/stagedoor")
    assert "user_ca.pub" in output
    assert "user-ca" not in output


LATER: Manifest = {"drainSeconds": 5, "web": {"enabled": True}}
"""What a later test needs of the gateways. The upgrade under load brings it: one roll-out for both."""
LOAD_PAUSE_S = 0.2
"""A thread's pause between two logins: the wait for the next is far shorter than any moment of a roll-out in
which one could get lost, and without it the load takes all of the processor that there is."""


@dataclass
class Load:
    """Logins one after the other in several threads, counted, for as long as it runs."""

    attempt: Callable[[], str]
    """One login; "" or what went wrong."""
    threads: int
    done: int = 0
    failed: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> "Load":
        self._running = [threading.Thread(target=self._loop) for _ in range(self.threads)]
        for thread in self._running:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._running:
            thread.join()

    def _loop(self) -> None:
        while not self._stop.is_set():
            at = time.strftime("%H:%M:%S")
            wrong = self.attempt()
            with self._lock:
                self.done += 1
                if wrong:
                    self.failed.append(f"{at}: {wrong}")
            self._stop.wait(LOAD_PAUSE_S)


def connect(address: str, port: int, token: str) -> str:
    """CONNECT, as far as sshd's own banner through the tunnel."""
    try:
        with socket.create_connection((address, port), timeout=20) as sock:
            sock.sendall(head("app01.ssh:22", bearer(token)))
            sock.settimeout(30)
            got = b""
            while b"\r\n\r\nSSH-2.0-" not in got:
                more = sock.recv(4096)
                if not more:
                    return f"cut off after {got!r}"
                got += more
            return ""
    except OSError as error:
        return repr(error)


def echo(session: "subprocess.Popen[str]", word: str) -> str:
    """Return what comes back from a `cat` at the other end."""
    assert session.stdin is not None
    assert session.stdout is not None
    session.stdin.write(f"{word}\n")
    session.stdin.flush()
    return session.stdout.readline()


def test_an_upgrade_under_load_costs_no_login_and_cuts_no_session(
    release: Release, record_property: Callable[[str, object], None]
) -> None:
    """And it makes no other keys."""
    keys = secrets(release)
    assert {"stagedoor-user-ca", "stagedoor-host-ca", "stagedoor-ssh-host"} <= keys.keys()
    restricted_app(release, annotations={"warm": "true"})
    warm = release.ssh("app01.ssh", "true")
    assert warm.returncode == 0, warm.stderr + release.story()
    token, port = release.token, release.port("tunnel")
    address = release.cluster.node_address
    before = {pod["metadata"]["name"] for pod in release.pods()}

    def login() -> str:
        done = release.ssh("app01.ssh", "true")
        return "" if done.returncode == 0 else done.stderr

    with subprocess.Popen(
        release.ssh_command("app01.ssh", "cat"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as stays:
        assert echo(stays, "before") == "before\n"
        tunnels = Load(lambda: connect(address, port, token), threads=2)
        logins = Load(login, threads=1)
        with tunnels, logins:
            until("logins come in", lambda: logins.done >= 1 and tunnels.done >= 5)
            began = time.monotonic()
            annotations = {"podAnnotations": {"round": uuid.uuid4().hex}}
            release.upgrade({"gateway": {**annotations, **LATER}})
            took_s = time.monotonic() - began
            after = {pod["metadata"]["name"] for pod in release.pods()}
            assert len(after) == 2
            assert not after & before, "every replica was replaced"
            # The last old one still lets people in when helm is done: until its preStop is over.
            seen, over = tunnels.done, time.monotonic() + PRE_STOP_S + 3
            until("it is over", lambda: time.monotonic() > over and tunnels.done > seen)
        assert echo(stays, "after") == "after\n", "a session of an old replica goes on"
    assert secrets(release) == keys
    record_property("tunnels", tunnels.done)
    record_property("logins", logins.done)
    record_property("upgrade_s", round(took_s, 1))
    print(f"upgrade in {took_s:.1f} s: {tunnels.done} tunnels, {logins.done} logins by ssh")
    assert tunnels.failed == []
    assert logins.failed == []


def replace_all(release: Release, replace: Callable[[], None]) -> None:
    """Call `replace`, and wait until all gateways of before are gone, those that still drain too."""
    selector = "app.kubernetes.io/component=gateway"

    def uids() -> set[str]:
        pods = release.api.listed(release.own, "pods", selector)
        return {str(pod["metadata"]["uid"]) for pod in pods}

    before = uids()
    replace()
    until("the old replicas are gone", lambda: not uids() & before)


def drain(release: Release) -> None:
    """Evict the gateways one after the other, as their budget allows, and wait until all others are ready."""
    before = [str(pod["metadata"]["name"]) for pod in release.pods()]
    for name in before:
        until("it may be evicted", partial(release.evict, name))
    release.kubectl("rollout", "status", "deployment/stagedoor-gateway", "--timeout=240s")


def kill_one(release: Release, meanwhile: Callable[[], None]) -> None:
    """Kill the processes of a gateway's pod, call `meanwhile`, and wait until others are ready."""
    pod = release.pods()[0]

    def ready() -> set[str]:
        statuses = release.api.get(pod).body["status"]["containerStatuses"]
        return {str(status["containerID"]) for status in statuses if status["ready"]}

    before = ready()
    assert before
    kill_pod(str(pod["metadata"]["uid"]))
    meanwhile()
    until("it is ready again", lambda: bool(ready()) and not ready() & before)


def print_returns(sessions: Sequence[Session]) -> None:
    """Print how soon each session hears a line that it says now. The goal is 2 s on a quiet machine."""
    began = time.monotonic()

    def hear(session: Session) -> float:
        session.check(1_000_000)
        return time.monotonic() - began

    with ThreadPoolExecutor(len(sessions)) as pool:
        took_s = list(pool.map(hear, sessions))
    for way, first, last in (
        ("stagedoor tunnel", 0, TUNNELS),
        ("attach", TUNNELS, -TERMINALS),
        ("the WebShell", -TERMINALS, None),
    ):
        seconds = " ".join(f"{took:.2f}" for took in sorted(took_s[first:last]))
        print(f"{way} goes on after {seconds} s")


TUNNELS = 30
TERMINALS = 10
"""Sessions by `attach`, and as many in the WebShell."""


@pytest.mark.continuity(14)
@pytest.mark.timeout(1500)  # all replicas end three times, one after the other
def test_50_sessions_outlive_an_upgrade_a_rollback_a_drain_and_a_killed_replica(
    release: Release,
) -> None:
    """The cluster has one node: cordoned, it would leave no place for the next replica. So a drain is its
    evictions, without the cordon."""
    restricted_app(release, annotations={"warm": "true"})
    release.upgrade({"gateway": LATER})
    with sessions_of(release, TUNNELS, TERMINALS) as sessions:
        assert len(sessions) == TUNNELS + 2 * TERMINALS
        with Lines(sessions, 5) as lines:
            annotations = {"gateway": {"podAnnotations": {"round": uuid.uuid4().hex}}}
            for happen in (
                partial(release.upgrade, annotations),
                release.roll_back,
                partial(drain, release),
            ):
                replace_all(release, happen)
                lines.check()
        kill_one(release, partial(print_returns, sessions))


def test_the_image_says_what_it_holds_and_under_which_licences(release: Release) -> None:
    where = ("exec", "deploy/stagedoor-gateway", "-c", "gateway", "--", "cat")
    text = release.kubectl(*where, "/usr/share/doc/stagedoor/sbom.spdx.json")
    packages = {package["name"]: package for package in json.loads(text)["packages"]}
    assert {"stagedoor", "cryptography", "psycopg", "h11", "libc6", "python3.13"} <= packages.keys()
    silent = [
        name for name, package in packages.items() if package["licenseComments"] == "not stated"
    ]
    assert len(silent) < len(packages) / 5, silent
    assert packages["stagedoor"]["licenseComments"] == "Apache-2.0"


def test_a_trial_needs_no_database(
    cluster: Cluster, kit: str, fresh_namespace: Callable[..., str], tmp_path: Path
) -> None:
    """One pod that is gateway and controller, its store a file; of a uid that no /etc/passwd has."""
    anchor(cluster)
    own, apps = fresh_namespace(RESTRICTED), fresh_namespace()
    more = {"apps": {"namespaces": [{"name": apps}]}, "runAsUser": 1_000_650_000}
    trial = Release(cluster, own, apps, tmp_path, {**of_trial(cluster, kit), **more})
    try:
        trial.install()
        trial.welcome()
        trial.app()
        done = trial.ssh("app01.ssh", "echo here")
        assert done.stdout == "here\n", done.stderr + trial.story()
        # What comes after an uninstall has the same keys: no developer's known_hosts is wrong then.
        before = secrets(trial)
        trial.uninstall()
        gone = ("wait", "--for=delete", "pod", "--all", "--timeout=240s")
        trial.kubectl(*gone)
        trial.install()
        assert secrets(trial) == before
        trial.welcome()
        done = trial.ssh("app01.ssh", "echo again")
        assert done.stdout == "again\n", done.stderr + trial.story()
    finally:
        trial.uninstall()


def test_the_plain_manifests_serve_as_well(
    cluster: Cluster, kit: str, release: Release, tmp_path: Path
) -> None:
    """`kubectl apply -k deploy/`, moved to other namespaces, since the cluster is shared."""
    own, apps = (f"test-{kind}-{uuid.uuid4().hex[:8]}" for kind in ("plain", "apps"))
    assert release.postgresql is not None
    url, password = database(release.postgresql, cluster)
    image = f"{release.values['image']['repository']}:{release.values['image']['tag']}"
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": kustomized()})
    for old, new in (
        ("postgresql://stagedoor@postgresql.stagedoor.svc/stagedoor", url),
        ("localhost/stagedoor-kit:dev", kit),
        ("localhost/stagedoor:dev", image),
        ("gw.example", cluster.node_address),
        ("stagedoor.stagedoor", f"stagedoor.{own}"),
        ("system:serviceaccount:stagedoor:", f"system:serviceaccount:{own}:"),
        ("request.namespace == 'stagedoor'", f"request.namespace == '{own}'"),
        ('"namespace": "stagedoor"', f'"namespace": "{own}"'),
        ('"kubernetes.io/metadata.name": "stagedoor"', f'"kubernetes.io/metadata.name": "{own}"'),
        ('"namespace": "apps"', f'"namespace": "{apps}"'),
        ('"values": ["apps"]', f'"values": ["{apps}"]'),
        ('{\\"\\" = \\"apps\\"}', f'{{\\"\\" = \\"{apps}\\"}}'),
        ('"type": "LoadBalancer"', '"type": "NodePort"'),
    ):
        assert old in text, old
        text = text.replace(old, new)
    wanted = json.loads(text)
    assert wanted["items"][0]["kind"] == "Namespace"
    wanted["items"][0]["metadata"]["name"] = own
    plain = Release(cluster, own, apps, tmp_path, {})
    try:
        for name in (own, apps):
            cluster.administrator.make_namespace(name)
        for name in ("user-ca", "host-ca", "ssh-host"):
            key = tmp_path / name
            new_key(key)
            secret = ("create", "secret", "generic", f"stagedoor-{name}")
            plain.kubectl(*secret, f"--from-file=key={key}")
        secret = ("create", "secret", "generic", "stagedoor-store")
        plain.kubectl(*secret, f"--from-literal=password={password}")
        cluster.kubectl("apply", "-f", "-", text=json.dumps(wanted))
        for name in ("gateway", "controller"):
            wait = ("rollout", "status", f"deployment/stagedoor-{name}", "--timeout=240s")
            plain.kubectl(*wait)
        plain.welcome()
        plain.app()
        done = plain.ssh("app01.ssh", "echo here")
        assert done.stdout == "here\n", done.stderr + plain.story()
    finally:
        forget(cluster, *(f"{part}.stagedoor.{own}" for part in ("names", "shells", "anchor")))
        cluster.administrator.forget("Namespace", own, apps)


def test_helm_s_own_test_knocks_at_every_door(release: Release) -> None:
    output = release.helm("test", "stagedoor", "--logs", "--timeout", "240s")
    assert "HTTP/1.1 407" in output
    assert ": SSH-2.0-" in output


def test_helm_tells_how_to_begin(release: Release) -> None:
    output = release.helm("get", "notes", "stagedoor")
    assert "stagedoor user add alice" in output
    assert "stagedoor.dev/shell=true" in output
