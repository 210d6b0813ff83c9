"""Which tests run beside which, and what they need: `python -m tests.plan [PYTEST ARGUMENT…]`.

It prints on one line what the named tests need: `cluster` (a running one), `page` (the WebShell's page), and
the programs of `tests.cluster.programs` that they use without a cluster. Without a path among the arguments
that is all of these, and `whole`.
"""

import contextlib
import hashlib
import io
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pace import fewer

ROOT = Path(__file__).resolve().parent.parent

WAITING = (
    *("tests/kube", "tests/chart", "tests/path", "tests/shells", "tests/kit", "tests/ssh"),
    *("tests/web/browser/test_acceptance_gap.py", "tests/web/browser/test_acceptance_vttest.py"),
    *("tests/acceptance/test_kubernetes.py", "tests/store/test_replicas.py"),
    "tests/store/test_outage.py",
)
"""Tests that mostly wait, for a cluster or a process, by docs/contributing/tests.md. Each uses less than
half of a core, so more of them than there are cores run at once."""
WAITING_WORKERS = 3

API = (
    *("tests/kube/api", "tests/chart/test_fences_admission.py", "tests/chart/test_fences_rbac.py"),
    *(
        "tests/chart/test_fences_binder.py",
        "tests/chart/test_fences_pods.py",
        "tests/chart/test_fences_runs.py",
        "tests/chart/test_fences_shells.py",
        "tests/chart/test_manifests.py",
    ),
)
"""Tests that start an API server without a cluster, which takes five seconds of the processor in each worker
that runs one of them: so there is one."""

LONGEST = (
    *("tests/web/browser/test_acceptance_gap.py", "tests/ssh/test_hostile_shells.py"),
    *("tests/upgrade/test_upgrade.py", "tests/api/test_schemathesis.py"),
    *("tests/upgrade/test_accidents.py", "tests/web/browser/test_firefox.py"),
    *("tests/web/test_acceptance.py", "tests/chart/test_install.py"),
    *("tests/chart/test_by_label.py", "tests/chart/test_leaving.py"),
    *("tests/acceptance/test_kubernetes.py", "tests/chart/test_ingress.py"),
    *("tests/web/browser/test_acceptance.py", "tests/chart/test_fences_shells.py"),
    *("tests/kube/api/test_api_gone.py", "tests/web/browser/test_page.py"),
    *("tests/web/browser/test_acceptance_cuts.py", "tests/kube/test_lifecycle_causes.py"),
    *("tests/kit/test_build.py", "tests/web/test_acceptance_screens.py"),
    *("tests/acceptance/test_check.py", "tests/login/test_client.py"),
    *("tests/ssh/test_direct_gateway.py", "tests/web/test_attach.py"),
    *("tests/kube/test_lifecycle.py", "tests/path/test_faults_revocation.py"),
    *("tests/store/test_replicas.py", "tests/kube/test_lifecycle_authorise.py"),
    *("tests/kube/test_lifecycle_commands.py", "tests/web/test_sharing.py"),
    *("tests/ssh/test_liveness.py", "tests/ssh/test_jump.py", "tests/web/browser/test_replay.py"),
    *("tests/shells/test_kubernetes_conformance.py", "tests/test_run.py"),
    *("tests/holder/test_process.py", "tests/kube/test_lifecycle_failover.py"),
    *("tests/web/browser/test_files.py", "tests/web/browser/test_people.py"),
    *("tests/store/test_outage.py", "tests/ssh/test_handshakes.py", "tests/holder/test_end.py"),
    *("tests/web/browser/test_accessibility.py", "tests/kube/api/test_relay.py"),
    *("tests/kit/test_session.py", "tests/kit/test_held.py"),
    *("tests/web/browser/test_acceptance_language.py", "tests/web/test_proxies.py"),
    *("tests/relay/test_tunnels.py", "tests/chart/test_doors.py"),
    *("tests/web/test_conversations.py", "tests/web/test_limits.py"),
    *("tests/chart/test_fences_network.py", "tests/demo/test_show.py"),
    "tests/holder/test_roster.py",
)
"""Of each share these begin first, so that no worker is left with one when the others are through. A file is
run by one worker, as what it sets up is for all its tests."""

SELF_TESTS = "tests/cluster"
"""The test cluster's own tests. They need minutes, and only a change of theirs changes their outcome."""
SELF_TESTED = ("tests/cluster", "tests/fixtures/cluster.py", "script/cluster")

BARE = "tests/bare"
"""The how-tos on bare machines. They need half an hour and many packages: on request only."""

PROVIDERS = ("tests/web/test_keycloak.py", "tests/identity_providers")
"""Real identity providers. Keycloak is 150 MB, Dex is built for minutes: on request."""

QUICK = (
    *("tests/audit", "tests/authn", "tests/authz", "tests/controller", "tests/keys"),
    *("tests/recording", "tests/session", "tests/wire", "tests/shells/kubernetes"),
    "tests/upstream/test_connect.py",
    *("tests/shells/test_kubernetes_request.py", "tests/shells/test_kubernetes_sight.py"),
    *("tests/kube/test_lease.py", "tests/kube/test_pace.py", "tests/kube/test_mirror.py"),
)
"""For the loop of a person who edits: no cluster, no browser, no other machine's program that is slow."""

LOWEST = (
    *(
        "tests/cli/test_user.py",
        "tests/ssh/test_algorithms.py",
        "tests/keys",
        "tests/kube/test_config.py",
    ),
    *("tests/oidc/test_client.py", "tests/oidc/test_id_token.py", "tests/oidc/test_logout.py"),
    *("tests/oidc/test_machine.py", "tests/oidc/test_request.py"),
    *("tests/authn/test_passkeys.py", "tests/settings/test_settings.py"),
    *(
        "tests/recording/test_sealed.py",
        "tests/store/test_policy.py",
        "tests/web/test_forwarded.py",
    ),
    *("tests/serve/test_log.py", "tests/wire/test_websocket.py", "tests/listeners/test_markup.py"),
    "tests/serve/test_traces.py",
)
"""For `script/lowest`: some that use each dependency. argon2-cffi, click: user. asyncssh: algorithms.
cryptography: keys. fido2: passkeys. joserfc: oidc. jinja2: markup. msgspec: settings.
opentelemetry: traces. pyrage: sealed. pyyaml: config. sqlalchemy: policy. starlette, uvicorn, h11: forwarded.
structlog: log. websockets: websocket."""

PAGE = ("tests/web", "tests/package", "tests/bench", "tests/demo")
"""Tests that read the page which `script/web` builds."""

BUILT = ("cluster", "helm", "images", "kube-apiserver", "traefik")
"""What is built before the tests that need it: what the cluster runs, programs, and the test images."""
IMAGES = ("tests/kit", "tests/cluster/test_images.py")
"""Tests in images of Debian, each of which takes a minute or two to make."""
_CLUSTER = "tests.fixtures.cluster"
_PROGRAMS = {
    "tests.kube.api.lone": ("kube-apiserver",),
    "tests.kube.api.test_memory": ("kube-apiserver",),
    "tests.cluster.conftest": ("cluster",),
    "tests.chart.chart": ("helm",),
    "tests.web.proxies": ("traefik",),
    "acceptance.kubernetes_show": ("helm",),
}
"""Of the programs of `tests.cluster.programs`, those that a module uses; `cluster` has its own."""


@dataclass(frozen=True)
class Share:
    """Tests that so many processes run, beside those of other shares: in `paths`; without any, all that no
    other share has.

    `stamp` is a file that holds `digest` once the share was green: then it need not run again.
    """

    name: str
    workers: int
    paths: tuple[str, ...] = ()
    stamp: Path | None = None
    digest: str = ""

    def has(self, file: Path) -> bool:
        return any(file.is_relative_to(ROOT / path) for path in self.paths)

    @property
    def is_due(self) -> bool:
        if self.stamp is None:
            return True
        try:
            return self.stamp.read_text("ascii") != self.digest
        except (OSError, ValueError):
            return True

    def was_green(self) -> None:
        """Every test passed, none was skipped."""
        if self.stamp is not None:
            self.stamp.parent.mkdir(parents=True, exist_ok=True)
            self.stamp.write_text(self.digest, "ascii")


def whole(cores: int, cache: Path) -> tuple[Share, ...]:
    """Return the shares of all tests. A file is in the first share that has it. `cache` outlives a checkout.

    One worker more than cores is busy, since those that wait come to wait at the same time. A slow machine
    (`tests.pace`) has fewer of both: more would only make each other late.
    """
    return (
        Share("API server", 1, API),
        Share("waiting", fewer(WAITING_WORKERS), WAITING),
        Share(
            "test cluster",
            1,
            (SELF_TESTS,),
            cache / "self-tests-green",
            digest(ROOT / path for path in SELF_TESTED),
        ),
        Share("busy", fewer(cores + 1)),
    )


def divided(shares: Sequence[Share], files: Iterable[Path]) -> list[tuple[Share, list[Path]]]:
    """Each share, and which of these files are its own."""
    found: dict[str, list[Path]] = {share.name: [] for share in shares}
    for file in files:
        owner = next(share for share in shares if not share.paths or share.has(file))
        found[owner.name].append(file)
    return [(share, found[share.name]) for share in shares]


def rank(file: Path) -> int:
    """By this a share's files are sorted."""
    name = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else ""
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


def digest(paths: Iterable[Path]) -> str:
    """What files and folders hold, as a name of 64 letters; whatever Python compiles there is left out."""
    found = hashlib.sha256()
    for path in paths:
        files = [path] if path.is_file() else sorted(path.rglob("*"))
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                name, content = str(file.relative_to(path.parent)).encode(), file.read_bytes()
                found.update(b"%d %d %b%b" % (len(name), len(content), name, content))
    return found.hexdigest()


def paths(arguments: Sequence[str]) -> tuple[str, ...]:
    """Those of pytest's arguments that name tests."""
    return tuple(one for one in arguments if Path(one.partition("::")[0]).exists())


class Needs:
    """The pytest plugin: `found` is what the tests need that were collected."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            self.found |= needs_of(item)


def needs_of(item: pytest.Item) -> set[str]:
    """Return what one test needs, as `needs` does for many."""
    fixtures = getattr(item, "_fixtureinfo", None)
    defined = fixtures.name2fixturedefs.values() if fixtures is not None else ()
    modules = {one.func.__module__ for each in defined for one in each[-1:]}
    found = {"cluster"} if _CLUSTER in modules else set()
    modules.add(getattr(getattr(item, "module", None), "__name__", ""))
    for user, programs in _PROGRAMS.items():
        if any(_uses(module, user) for module in modules):
            found |= set(programs)
    for name, folders in (("page", PAGE), ("images", IMAGES)):
        if any(item.path.is_relative_to(ROOT / path) for path in folders):
            found.add(name)
    return found


def _uses(module: str, other: str) -> bool:
    """Return whether a module is `other`, or has imported something from it."""
    if module == other:
        return True
    names = vars(sys.modules[module]).values() if module in sys.modules else ()
    return any(getattr(value, "__module__", "") == other for value in list(names))


def needs(arguments: Sequence[str]) -> set[str]:
    """Return what the tests need that pytest finds for these arguments: `cluster`, `page`, programs."""
    plugin, said = Needs(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        quiet = ("--collect-only", "-q", "-p", "no:cacheprovider")
        pytest.main([*quiet, *arguments], plugins=[plugin])
    return plugin.found


def main(arguments: Sequence[str]) -> int:
    print(*sorted(needs(arguments) if paths(arguments) else {"whole", "page", *BUILT}))
    return 0


if __name__ == "__main__":
    os.environ.pop("PYTEST_ADDOPTS", None)
    sys.exit(main(sys.argv[1:]))
